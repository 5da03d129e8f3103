# ADE20K, data/ade/ADEChallengeData2016/{images,annotations}/{training,validation}: 150 classes, by their numbers; 0 is not counted.
data = dict(
    type='SegmentedImages',
    data_root='data/ade/ADEChallengeData2016',
    classes=[str(number) for number in range(1, 151)],
    reduce_zero_label=True,
    size=512)
test_dataloader = dict(
    batch_size=32,
    num_workers=8,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(data, images='images/validation', masks='annotations/validation'))
test_cfg = dict(
    type='ProtocolLoop',
    bank=dict(
        batch_size=32,
        num_workers=8,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(data, images='images/training', masks='annotations/training')))
