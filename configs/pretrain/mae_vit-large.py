_base_ = './mae.py'
model = dict(backbone=dict(arch='large'))
