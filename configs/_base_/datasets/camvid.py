# CamVid with its usual 11 classes at 480 x 360, as prepared for SegNet: index 11 is void.
data_root = 'data/camvid'
void = 11
labels = dict(type='mmdssl.LoadLabelMap', num_classes=11, ignore_index=void)
train_pipeline = [
    dict(type='mmdssl.LoadImage', skip_broken=True),
    labels,
    dict(type='RandomResize', scale=(480, 360), ratio_range=(0.5, 1.5), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(256, 256), cat_max_ratio=0.75, ignore_index=void),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [dict(type='mmdssl.LoadImage'), labels, dict(type='PackSegInputs')]
dataset = dict(
    type='BaseSegDataset',
    data_root=data_root,
    metainfo=dict(classes=('sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign', 'fence', 'car', 'pedestrian', 'cyclist')),
    img_suffix='.png')
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler'),
    dataset=dict(dataset, data_prefix=dict(img_path='images/train', seg_map_path='annotations/train'), pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(dataset, data_prefix=dict(img_path='images/val', seg_map_path='annotations/val'), pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(type='mmdssl.IoUMetric', iou_metrics=['mIoU'], ignore_index=void)
test_evaluator = val_evaluator
