_base_ = '../_base_/finetune_transfer_ibot.py'
model = dict(num_classes=100)
train_dataloader = dict(dataset=dict(dataset=dict(name='cifar100')))
val_dataloader = dict(dataset=dict(name='cifar100'))
test_dataloader = val_dataloader
default_hooks = dict(record=dict(dataset='cifar100'))
