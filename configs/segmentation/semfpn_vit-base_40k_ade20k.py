_base_ = './semfpn_vit-small_40k_ade20k.py'
model = dict(backbone=dict(arch='base'), neck=dict(in_channels=[768, 768, 768, 768]))
