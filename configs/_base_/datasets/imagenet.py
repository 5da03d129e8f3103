# ImageNet-1K: data/imagenet/train/<class>/*, data/imagenet/val/<class>/*. DINO's multi-crop views; a config that wants a group less
# sets it to None. For the very pixels of the authors' recipes: backend='pillow', scaled_decoding=False; with fast GPUs and few cores:
# photometric_device=True. k-NN uses a class-balanced tenth of the training labels.
train_dataloader = dict(
    batch_size=64,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='EpochSampler'),
    collate_fn=dict(type='mmdssl.collate_views'),
    dataset=dict(
        type='ImageFolder',
        data_root='data/imagenet/train',
        backend='fast',
        scaled_decoding=True,
        views=dict(
            global_=dict(
                type='CropViews', size=224, scale=(0.25, 1.0),
                photometric=[dict(blur_prob=1.0), dict(blur_prob=0.1, solarize_prob=0.2)]),
            local=dict(type='CropViews', num=10, size=96, scale=(0.05, 0.25), photometric=dict(blur_prob=0.5)),
        )))

val_dataloader = dict(
    batch_size=256,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='LabelledFolder', data_root='data/imagenet/val', resize=256, size=224))
val_cfg = dict(
    type='ProtocolLoop',
    bank=dict(
        batch_size=256,
        num_workers=8,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(type='LabelledFolder', data_root='data/imagenet/train', resize=256, size=224, fraction=0.1)))
val_evaluator = dict(type='KNNMetric', k=(10, 20))
