# The sample world's data set in ADE20K's layout, data/sample_world/ade20k, at 192 px: its 11 classes are in classes.txt, 0 is not counted.
_base_ = './dense_loaders.py'
dataset = dict(type='SegmentedImages', data_root='data/sample_world/ade20k', reduce_zero_label=True, size=192)
test_dataloader = dict(
    batch_size=8,
    num_workers=2,
    dataset=dict(dataset, images='images/validation', masks='annotations/validation'))
test_cfg = dict(bank=dict(
    batch_size=8,
    num_workers=2,
    dataset=dict(dataset, images='images/training', masks='annotations/training')))
del dataset
