_base_ = './adclr.py'
model = dict(backbone=dict(arch='base'), head=dict(norm_last_layer=True))
train_cfg = dict(max_epochs=400)
