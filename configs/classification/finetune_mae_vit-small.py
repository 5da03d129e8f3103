# The authors train no ViT-S: this is their recipe of ViT-B.
_base_ = './finetune_mae_vit-base.py'
model = dict(backbone=dict(arch='small'))
