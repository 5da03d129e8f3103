# Small images in class folders, data/small/{train,val}/<class>/*: two global views of 32 px, no local ones, k-NN at 64 px.
train_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='EpochSampler'),
    collate_fn=dict(type='mmdssl.collate_views'),
    dataset=dict(
        type='ImageFolder',
        data_root='data/small/train',
        views=dict(
            global_=dict(
                type='CropViews', size=32, scale=(0.25, 1.0),
                photometric=[dict(blur_prob=0.5, blur_radius=(0.1, 1.0)),
                             dict(blur_prob=0.1, blur_radius=(0.1, 1.0), solarize_prob=0.2)]),
        )))

val_dataloader = dict(
    batch_size=250,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='LabelledFolder', data_root='data/small/val', resize=64, size=64))
val_cfg = dict(
    type='ProtocolLoop',
    bank=dict(
        batch_size=250,
        num_workers=2,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(type='LabelledFolder', data_root='data/small/train', resize=64, size=64)))
val_evaluator = dict(type='KNNMetric', k=(10, 20))
