_base_ = '../_base_/finetune_transfer_ibot.py'
model = dict(num_classes=1010, erasing=0.1)
train_dataloader = dict(dataset=dict(dataset=dict(name='inat19')))
val_dataloader = dict(dataset=dict(name='inat19'))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=360)
default_hooks = dict(record=dict(dataset='inat19'))
