_base_ = './finetune_deit_vit-small.py'
model = dict(backbone=dict(arch='base'))
