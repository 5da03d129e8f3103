_base_ = './pqcl_dino.py'
model = dict(backbone=dict(arch='base'), head=dict(norm_last_layer=True))
