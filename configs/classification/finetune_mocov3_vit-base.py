# MoCo v3, whose authors run DeiT's code with all its defaults for 150 epochs; so do BAM's.
_base_ = './finetune_deit_vit-base.py'
train_cfg = dict(max_epochs=150)
default_hooks = dict(record=dict(framework='finetune-deit-150'))
