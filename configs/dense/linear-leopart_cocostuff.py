# 15 super-classes of the stuff of COCO, trained on a tenth of train2017; what is a thing is not counted.
_base_ = ['../_base_/linear-leopart.py', '../_base_/datasets/cocostuff_dense.py']
train_dataloader = dict(
    dataset=dict(_base_.test_cfg.bank.dataset, size=448, augment=True, scale=(0.8, 1.0), jitter=0.0, flip=0.5, number=11828))
val_dataloader = dict(dataset=dict(_base_.test_dataloader.dataset, size=448))
test_dataloader = dict(dataset=dict(size=448))
test_cfg = dict(_delete_=True, type='SegmentationLoop')
model = dict(num_classes=15)
default_hooks = dict(record=dict(dataset='coco-stuff'))
