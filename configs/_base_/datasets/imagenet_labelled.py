# ImageNet-1K with labels, for classifiers: data/imagenet/train/<class>/*, data/imagenet/val/<class>/*. `batch_size` is for 8 processes.
train_dataloader = dict(
    batch_size=128,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='EpochSampler'),
    collate_fn=dict(type='mmdssl.collate_views'),
    dataset=dict(
        type='LabelledViews',
        dataset=dict(type='LabelledFolder', data_root='data/imagenet/train'),
        views=dict(global_=dict(type='CropViews', size=224, scale=(0.08, 1.0), interpolation='bilinear'))))
val_dataloader = dict(
    batch_size=128,
    num_workers=8,
    persistent_workers=True,
    dataset=dict(type='LabelledFolder', data_root='data/imagenet/val', resize=256, size=224))
test_dataloader = val_dataloader
