_base_ = './pqcl.py'
model = dict(backbone=dict(arch='base'), head=dict(norm_last_layer=True))
