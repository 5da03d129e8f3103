_base_ = '../_base_/finetune_transfer_mocov3.py'
model = dict(num_classes=100, mixup=0.5)
train_dataloader = dict(dataset=dict(dataset=dict(name='cifar100')))
val_dataloader = dict(dataset=dict(name='cifar100'))
test_dataloader = val_dataloader
default_hooks = dict(record=dict(dataset='cifar100'))
