# iBOT's recipe for ViT-B: lr 8e-5 (its README; its config has 7e-4), layer decay 0.65.
_base_ = './upernet_vit-small_160k_ade20k.py'
model = dict(
    backbone=dict(arch='base'),
    decode_head=dict(in_channels=[768, 768, 768, 768], channels=768),
    auxiliary_head=dict(in_channels=768))
optim_wrapper = dict(optimizer=dict(lr=8e-5), paramwise_cfg=dict(layer_decay=0.65))
