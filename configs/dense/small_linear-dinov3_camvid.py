# DINOv3's linear segmentation at a quarter of its sizes; 11 classes, void is not counted.
_base_ = [
    '../_base_/models/small_linear-dinov3.py', '../_base_/datasets/camvid.py', '../_base_/schedules/small_linear-dinov3.py',
    '../_base_/mmseg_runtime.py'
]
train_pipeline = [
    dict(type='mmdssl.LoadImage', skip_broken=True),
    dict(type='mmdssl.LoadLabelMap', num_classes=11, ignore_index=11),
    dict(type='RandomResize', scale=(512, 128), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(128, 128), cat_max_ratio=0.75, ignore_index=11),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='mmdssl.LoadImage'),
    dict(type='Resize', scale=(512, 128), keep_ratio=True),
    dict(type='mmdssl.LoadLabelMap', num_classes=11, ignore_index=11),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
model = dict(data_preprocessor=dict(seg_pad_val=11), decode_head=dict(num_classes=11, ignore_index=11))
default_hooks = dict(
    checkpoint=dict(interval=200),
    record=dict(task='linear-dinov3', dataset='camvid', setting=dict(image=128, mask='original', classes=11, ignored=11)))
