_base_ = '../_base_/finetune_transfer_ibot.py'
model = dict(num_classes=102)
train_dataloader = dict(dataset=dict(dataset=dict(name='flowers', split=['train', 'val'])))
val_dataloader = dict(dataset=dict(name='flowers'))
test_dataloader = val_dataloader
default_hooks = dict(record=dict(dataset='flowers'))
