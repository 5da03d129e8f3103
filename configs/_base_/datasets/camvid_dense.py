# CamVid with its usual 11 classes, data/camvid/{images,annotations}/{train,val} and classes.txt, at 192 px: index 11 is void.
_base_ = './dense_loaders.py'
dataset = dict(type='SegmentedImages', data_root='data/camvid', image_suffix='.png', ignore=[11], size=192)
test_dataloader = dict(
    batch_size=8,
    num_workers=2,
    dataset=dict(dataset, images='images/val', masks='annotations/val'))
test_cfg = dict(bank=dict(
    batch_size=8,
    num_workers=2,
    dataset=dict(dataset, images='images/train', masks='annotations/train')))
del dataset
