# The 12 super-classes of the things of COCO-Stuff; what is stuff is not counted.
# data/coco_stuff164k/{images,annotations}/{train2017,val2017}, the maps of stuffthingmaps_trainval2017.zip (ids of COCO less 1).
_base_ = './dense_loaders.py'
dataset = dict(
    type='SegmentedImages',
    data_root='data/coco_stuff164k',
    classes={
        'accessory': [26, 27, 30, 31, 32],
        'animal': [15, 16, 17, 18, 19, 20, 21, 22, 23, 24],
        'appliance': [77, 78, 79, 80, 81],
        'electronic': [71, 72, 73, 74, 75, 76],
        'food': [51, 52, 53, 54, 55, 56, 57, 58, 59, 60],
        'furniture': [61, 62, 63, 64, 66, 69],
        'indoor': [83, 84, 85, 86, 87, 88, 89],
        'kitchen': [43, 45, 46, 47, 48, 49, 50],
        'outdoor': [9, 10, 12, 13, 14],
        'person': [0],
        'sports': [33, 34, 35, 36, 37, 38, 39, 40, 41, 42],
        'vehicle': [1, 2, 3, 4, 5, 6, 7, 8],
    },
    size=512)
test_dataloader = dict(dataset=dict(dataset, images='images/val2017', masks='annotations/val2017'))
test_cfg = dict(bank=dict(dataset=dict(dataset, images='images/train2017', masks='annotations/train2017')))
del dataset
