_base_ = '../_base_/finetune_transfer_ibot.py'
model = dict(num_classes=8142, erasing=0.1)
train_dataloader = dict(dataset=dict(dataset=dict(name='inat18')))
val_dataloader = dict(dataset=dict(name='inat18'))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=360)
default_hooks = dict(record=dict(dataset='inat18'))
