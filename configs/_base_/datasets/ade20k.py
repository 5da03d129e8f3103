_base_ = 'mmseg::_base_/datasets/ade20k.py'
crop_size = (512, 512)
labels = dict(type='mmdssl.LoadLabelMap', num_classes=150, reduce_zero_label=True)
train_pipeline = [
    dict(type='mmdssl.LoadImage', skip_broken=True),
    labels,
    dict(type='RandomResize', scale=(2048, 512), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='mmdssl.LoadImage'),
    dict(type='Resize', scale=(2048, 512), keep_ratio=True),
    labels,
    dict(type='PackSegInputs'),
]
train_dataloader = dict(batch_size=4, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(type='mmdssl.IoUMetric')
test_evaluator = val_evaluator
