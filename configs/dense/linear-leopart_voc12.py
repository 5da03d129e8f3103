# 21 classes of VOC 2012, trained on trainaug (10,582); 255 is not counted.
_base_ = ['../_base_/linear-leopart.py', '../_base_/datasets/voc12_dense.py']
train_dataloader = dict(
    dataset=dict(_base_.test_cfg.bank.dataset, size=448, augment=True, scale=(0.8, 1.0), jitter=0.0, flip=0.5))
val_dataloader = dict(dataset=dict(_base_.test_dataloader.dataset, size=448))
test_dataloader = dict(dataset=dict(size=448))
test_cfg = dict(_delete_=True, type='SegmentationLoop')
model = dict(num_classes=21)
default_hooks = dict(record=dict(dataset='voc12'))
