# Semantic FPN on the sample world, in minutes on two cores: for the quick suite of tools/benchmark.py. The recipe suits
# random weights as well as pretrained ones: all layers learn at one rate, layer decay would hold random ones back.
_base_ = [
    '../_base_/models/small_semfpn.py', '../_base_/schedules/small_segmentation.py', '../_base_/mmseg_runtime.py'
]
classes = ('sky', 'grass', 'sand', 'tiles', 'planks', 'pebbles', 'ball', 'crate', 'cone', 'drum', 'jack')
scale = (192, 144)
labels = dict(type='mmdssl.LoadLabelMap', num_classes=len(classes), reduce_zero_label=True)
train_pipeline = [
    dict(type='mmdssl.LoadImage', skip_broken=True),
    labels,
    dict(type='RandomResize', scale=scale, ratio_range=(0.75, 1.5), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(144, 144), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='mmdssl.LoadImage'),
    dict(type='Resize', scale=scale, keep_ratio=True),
    labels,
    dict(type='PackSegInputs'),
]
dataset = dict(
    type='BaseSegDataset',
    data_root='data/sample_world/ade20k',
    metainfo=dict(classes=classes),
    reduce_zero_label=True)
train_prefix = dict(img_path='images/training', seg_map_path='annotations/training')
val_prefix = dict(img_path='images/validation', seg_map_path='annotations/validation')
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler'),
    dataset=dict(dataset, data_prefix=train_prefix, pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(dataset, data_prefix=val_prefix, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(type='mmdssl.IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
model = dict(decode_head=dict(num_classes=len(classes)))
optim_wrapper = dict(paramwise_cfg=dict(layer_decay=1.0))
default_hooks = dict(
    checkpoint=dict(interval=100),
    record=dict(task='segmentation', dataset='sample-world', framework='fpn-small'))
