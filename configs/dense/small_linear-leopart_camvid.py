# Leopart's linear segmentation of small networks: 11 classes of CamVid, void is not counted.
_base_ = '../_base_/small_linear-leopart.py'
train_dataloader = dict(
    dataset=dict(
        type='SegmentedImages',
        data_root='data/camvid',
        images='images/train',
        masks='annotations/train',
        image_suffix='.png',
        classes=('sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign', 'fence', 'car', 'pedestrian', 'cyclist'),
        ignore=[11],
        size=128,
        augment=True,
        scale=(0.8, 1.0),
        jitter=0.0,
        flip=0.5))
val_dataloader = dict(
    dataset=dict(train_dataloader['dataset'], images='images/val', masks='annotations/val', augment=False))
test_dataloader = val_dataloader
default_hooks = dict(record=dict(dataset='camvid'))
