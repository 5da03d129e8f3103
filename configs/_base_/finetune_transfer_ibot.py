# iBOT's and DINO's fine-tuning of ViT-B on other data sets: DeiT's recipe at a low rate, 768 images per step (96 on each of 8 processes),
# tested on 224 px of 256. data/transfer holds the data sets as torchvision reads them. A config of a data set gives its name, the number
# of its classes, and what differs. DeiT's end of 1e-5 is hardly below the highest rate.
_base_ = '../classification/finetune_deit_vit-base.py'
train_dataloader = dict(
    batch_size=96,
    dataset=dict(dataset=dict(_delete_=True, type='TransferDataset', data_root='data/transfer', split='train')))
val_dataloader = dict(
    dataset=dict(_delete_=True, type='TransferDataset', data_root='data/transfer', split='test', resize=256, size=224))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=7.5e-6))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.089, begin=0, end=6, by_epoch=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, begin=5, by_epoch=True),
]
train_cfg = dict(max_epochs=1000, val_interval=10)
default_hooks = dict(record=dict(task='transfer-finetune', framework='finetune-ibot'))
