_base_ = '../_base_/finetune_transfer_mocov3.py'
model = dict(num_classes=37, cutmix=0.0, backbone=dict(drop_path_rate=0.0))
train_dataloader = dict(dataset=dict(dataset=dict(name='pets')))
val_dataloader = dict(dataset=dict(name='pets'))
test_dataloader = val_dataloader
default_hooks = dict(record=dict(dataset='pets'))
