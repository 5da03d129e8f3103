# VOC 2012 with the masks of SBD, data/VOCdevkit/VOC2012/{JPEGImages,SegmentationClass,SegmentationClassAug,ImageSets/Segmentation}:
# 21 classes, the bank is trainaug.
_base_ = './dense_loaders.py'
dataset = dict(
    type='SegmentedImages',
    data_root='data/VOCdevkit/VOC2012',
    images='JPEGImages',
    classes=('background', 'aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair', 'cow', 'diningtable', 'dog',
             'horse', 'motorbike', 'person', 'pottedplant', 'sheep', 'sofa', 'train', 'tvmonitor'),
    size=512)
test_dataloader = dict(dataset=dict(dataset, masks='SegmentationClass', names='ImageSets/Segmentation/val.txt'))
test_cfg = dict(bank=dict(dataset=dict(dataset, masks='SegmentationClassAug', names='ImageSets/Segmentation/trainaug.txt')))
del dataset
