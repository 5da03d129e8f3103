_base_ = './finetune_deit_vit-small.py'
train_cfg = dict(max_epochs=150)
default_hooks = dict(record=dict(framework='finetune-deit-150'))
