# DINOv3's linear segmentation at a quarter of its sizes, on the sample world: 11 classes, 0 is not counted.
_base_ = [
    '../_base_/models/small_linear-dinov3.py', '../_base_/schedules/small_linear-dinov3.py', '../_base_/mmseg_runtime.py'
]
classes = ('sky', 'grass', 'sand', 'tiles', 'planks', 'pebbles', 'ball', 'crate', 'cone', 'drum', 'jack')
labels = dict(type='mmdssl.LoadLabelMap', num_classes=len(classes), reduce_zero_label=True)
train_pipeline = [
    dict(type='mmdssl.LoadImage', skip_broken=True),
    labels,
    dict(type='RandomResize', scale=(512, 128), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(128, 128), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='mmdssl.LoadImage'),
    dict(type='Resize', scale=(512, 128), keep_ratio=True),
    labels,
    dict(type='PackSegInputs'),
]
dataset = dict(
    type='BaseSegDataset', data_root='data/sample_world/ade20k', metainfo=dict(classes=classes), reduce_zero_label=True)
train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler'),
    dataset=dict(
        dataset,
        data_prefix=dict(img_path='images/training', seg_map_path='annotations/training'),
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        dataset,
        data_prefix=dict(img_path='images/validation', seg_map_path='annotations/validation'),
        pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(type='mmdssl.IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
model = dict(decode_head=dict(num_classes=len(classes)))
default_hooks = dict(
    checkpoint=dict(interval=200),
    record=dict(task='linear-dinov3', dataset='sample-world', setting=dict(image=128, mask='original', classes=11)))
