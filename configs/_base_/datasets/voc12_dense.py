# VOC 2012 with the masks of SBD, data/VOCdevkit/VOC2012/{JPEGImages,SegmentationClass,SegmentationClassAug,ImageSets/Segmentation}:
# 21 classes, the bank is trainaug.
data = dict(
    type='SegmentedImages',
    data_root='data/VOCdevkit/VOC2012',
    images='JPEGImages',
    classes=('background', 'aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair', 'cow', 'diningtable', 'dog',
             'horse', 'motorbike', 'person', 'pottedplant', 'sheep', 'sofa', 'train', 'tvmonitor'),
    size=512)
test_dataloader = dict(
    batch_size=32,
    num_workers=8,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(data, masks='SegmentationClass', names='ImageSets/Segmentation/val.txt'))
test_cfg = dict(
    type='ProtocolLoop',
    bank=dict(
        batch_size=32,
        num_workers=8,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(data, masks='SegmentationClassAug', names='ImageSets/Segmentation/trainaug.txt')))
