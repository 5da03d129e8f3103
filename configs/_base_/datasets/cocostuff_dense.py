# The 15 super-classes of the stuff of COCO-Stuff; what is a thing is not counted.
# data/coco_stuff164k/{images,annotations}/{train2017,val2017}, the maps of stuffthingmaps_trainval2017.zip (ids of COCO less 1).
_base_ = './dense_loaders.py'
dataset = dict(
    type='SegmentedImages',
    data_root='data/coco_stuff164k',
    classes={
        'building': [94, 95, 127, 150, 157, 165],
        'ceiling': [101, 102],
        'floor': [100, 113, 114, 115, 116, 117],
        'food-stuff': [120, 121, 152, 169],
        'furniture-stuff': [97, 106, 107, 109, 111, 122, 129, 132, 155, 160, 164],
        'ground': [110, 124, 125, 135, 139, 143, 144, 146, 148, 153, 158],
        'plant': [93, 96, 118, 123, 128, 133, 141, 162, 168],
        'raw-material': [99, 131, 138, 142],
        'sky': [105, 156],
        'solid': [126, 134, 149, 159, 161, 181],
        'structural': [98, 112, 137, 145, 163],
        'textile': [91, 92, 103, 104, 108, 130, 136, 140, 151, 166, 167],
        'wall': [170, 171, 172, 173, 174, 175, 176],
        'water': [119, 147, 154, 177, 178],
        'window': [179, 180],
    },
    size=512)
test_dataloader = dict(dataset=dict(dataset, images='images/val2017', masks='annotations/val2017'))
test_cfg = dict(bank=dict(dataset=dict(dataset, images='images/train2017', masks='annotations/train2017')))
del dataset
