_base_ = '../_base_/finetune_transfer_ibot.py'
model = dict(num_classes=10)
train_dataloader = dict(dataset=dict(dataset=dict(name='cifar10')))
val_dataloader = dict(dataset=dict(name='cifar10'))
test_dataloader = val_dataloader
default_hooks = dict(record=dict(dataset='cifar10'))
