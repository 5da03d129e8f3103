_base_ = './looc.py'
model = dict(plus=True, backbone=dict(branches=4))
