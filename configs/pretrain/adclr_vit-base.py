# As adclr.py, with ViT-B/16: 400 epochs; prototypes of length 1, as DINO has them for this size.
_base_ = './adclr.py'
model = dict(backbone=dict(arch='base'), head=dict(norm_last_layer=True))
train_cfg = dict(max_epochs=400)
