# Leopart's linear segmentation of small networks on the sample world: 11 classes, 0 is not counted.
_base_ = '../_base_/small_linear-leopart.py'
train_dataloader = dict(
    dataset=dict(
        type='SegmentedImages',
        data_root='data/sample_world/ade20k',
        images='images/training',
        masks='annotations/training',
        classes='classes.txt',
        reduce_zero_label=True,
        size=128,
        augment=True,
        scale=(0.8, 1.0),
        jitter=0.0,
        flip=0.5))
val_dataloader = dict(
    dataset=dict(train_dataloader['dataset'], images='images/validation', masks='annotations/validation', augment=False))
test_dataloader = val_dataloader
default_hooks = dict(record=dict(dataset='sample-world'))
