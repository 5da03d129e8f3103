# Cityscapes, data/cityscapes/{leftImg8bit,gtFine}/{train,val}/<city>/*: 19 classes by the ids of *_labelIds.png.
_base_ = './dense_loaders.py'
dataset = dict(
    type='SegmentedImages',
    data_root='data/cityscapes',
    image_suffix='_leftImg8bit.png',
    mask_suffix='_gtFine_labelIds.png',
    classes={
        'road': [7], 'sidewalk': [8], 'building': [11], 'wall': [12], 'fence': [13], 'pole': [17], 'traffic light': [19],
        'traffic sign': [20], 'vegetation': [21], 'terrain': [22], 'sky': [23], 'person': [24], 'rider': [25], 'car': [26],
        'truck': [27], 'bus': [28], 'train': [31], 'motorcycle': [32], 'bicycle': [33]},
    size=512)
test_dataloader = dict(dataset=dict(dataset, images='leftImg8bit/val', masks='gtFine/val'))
test_cfg = dict(bank=dict(dataset=dict(dataset, images='leftImg8bit/train', masks='gtFine/train')))
del dataset
