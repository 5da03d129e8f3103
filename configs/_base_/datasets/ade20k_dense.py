# ADE20K, data/ade/ADEChallengeData2016/{images,annotations}/{training,validation}: 150 classes, by their numbers; 0 is not counted.
_base_ = './dense_loaders.py'
dataset = dict(
    type='SegmentedImages',
    data_root='data/ade/ADEChallengeData2016',
    classes=[str(number) for number in range(1, 151)],
    reduce_zero_label=True,
    size=512)
test_dataloader = dict(dataset=dict(dataset, images='images/validation', masks='annotations/validation'))
test_cfg = dict(bank=dict(dataset=dict(dataset, images='images/training', masks='annotations/training')))
del dataset
