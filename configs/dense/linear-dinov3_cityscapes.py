# As on ADE20K, with the 19 classes of Cityscapes; images of 1024 x 2048 become 512 x 1024, scores are at their original size.
_base_ = [
    '../_base_/models/linear-dinov3_vit-small.py', 'mmseg::_base_/datasets/cityscapes.py', '../_base_/schedules/linear-dinov3_40k.py',
    '../_base_/mmseg_runtime.py'
]
labels = dict(type='mmdssl.LoadLabelMap', num_classes=19)
train_pipeline = [
    dict(type='mmdssl.LoadImage', skip_broken=True),
    labels,
    dict(type='RandomResize', scale=(2048, 512), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(512, 512), cat_max_ratio=0.75),
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
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
model = dict(decode_head=dict(num_classes=19))
default_hooks = dict(
    record=dict(task='linear-dinov3', dataset='cityscapes', setting=dict(image=512, mask='original', classes=19)))
