_base_ = './finetune_ibot_vit-small.py'
model = dict(backbone=dict(arch='base', drop_path_rate=0.2))
optim_wrapper = dict(paramwise_cfg=dict(layer_decay=0.65))
train_cfg = dict(max_epochs=100)
