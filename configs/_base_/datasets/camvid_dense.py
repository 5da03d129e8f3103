# CamVid with its usual 11 classes, data/camvid/{images,annotations}/{train,val} and classes.txt, at 192 px: index 11 is void.
dataset = dict(type='SegmentedImages', data_root='data/camvid', image_suffix='.png', ignore=[11], size=192)
test_dataloader = dict(
    batch_size=8,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(dataset, images='images/val', masks='annotations/val'))
test_cfg = dict(
    type='ProtocolLoop',
    bank=dict(
        batch_size=8,
        num_workers=2,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(dataset, images='images/train', masks='annotations/train')))
del dataset
