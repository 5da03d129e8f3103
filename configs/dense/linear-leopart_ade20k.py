# 150 classes of ADE20K; 0 is not counted, and is one of the 151 classes of the authors' mean.
_base_ = ['../_base_/linear-leopart.py', '../_base_/datasets/ade20k_dense.py']
train_dataloader = dict(
    dataset=dict(_base_.test_cfg.bank.dataset, size=448, augment=True, scale=(0.8, 1.0), jitter=0.0, flip=0.5))
val_dataloader = dict(dataset=dict(_base_.test_dataloader.dataset, size=448))
test_dataloader = dict(dataset=dict(size=448))
test_cfg = dict(_delete_=True, type='SegmentationLoop')
val_evaluator = test_evaluator = dict(void_classes=1)
model = dict(num_classes=150)
default_hooks = dict(record=dict(dataset='ade20k'))
