# Mask R-CNN on the sample world, in minutes on two cores: for the quick suite of tools/benchmark.py. All layers learn at one rate:
# layer decay would hold back random weights, with which pretrained ones are compared.
_base_ = './small_mask-rcnn_coco.py'
data_root = 'data/sample_world/coco/'
scale = (256, 192)
train_pipeline = [
    dict(type='mmdssl.LoadImage', skip_broken=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='mmdssl.LoadImage'),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
dataset = dict(data_root=data_root, metainfo=dict(classes=('ball', 'crate', 'cone', 'drum', 'jack')))
train_dataloader = dict(batch_size=4, dataset=dict(dataset, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(dataset, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=f'{data_root}annotations/instances_val2017.json')
test_evaluator = val_evaluator
model = dict(
    roi_head=dict(
        bbox_head=dict(type='ConvFCBBoxHead', num_shared_convs=1, num_shared_fcs=1, num_classes=5),
        mask_head=dict(num_convs=1, num_classes=5)),
    train_cfg=dict(rpn_proposal=dict(max_per_img=100), rcnn=dict(sampler=dict(num=32))),
    test_cfg=dict(rpn=dict(max_per_img=100)))
train_cfg = dict(max_iters=300, val_interval=300)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=30),
    dict(type='CosineAnnealingLR', eta_min_ratio=0.01, by_epoch=False, begin=30, end=300),
]
default_hooks = dict(record=dict(dataset='sample-world', framework='mask-rcnn-small'))
