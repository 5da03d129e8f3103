# ImageNet-1K for protocols on frozen features, data/imagenet/{train,val}/<class>/*: the bank is the training set.
test_dataloader = dict(
    batch_size=256,
    num_workers=8,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='LabelledFolder', data_root='data/imagenet/val', resize=256, size=224))
test_cfg = dict(
    type='ProtocolLoop',
    bank=dict(
        batch_size=256,
        num_workers=8,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(type='LabelledFolder', data_root='data/imagenet/train', resize=256, size=224)),
    cache='work_dirs/features')
