_base_ = '../_base_/finetune_transfer_mocov3.py'
model = dict(num_classes=102, mixup=0.0, cutmix=0.0, erasing=0.25)
train_dataloader = dict(dataset=dict(dataset=dict(name='flowers', split=['train', 'val'])))
val_dataloader = dict(dataset=dict(name='flowers'))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(weight_decay=0.3))
default_hooks = dict(record=dict(dataset='flowers'))
