# MAE, ViT-L/16: as mae.py.
_base_ = './mae.py'
model = dict(backbone=dict(arch='large'))
