_base_ = './semi_ibot_vit-small_1percent.py'
train_dataloader = dict(dataset=dict(dataset=dict(fraction=0.1)))
default_hooks = dict(record=dict(framework='finetune-ibot-10percent'))
