# COCO, shorter sides of 640 to 800, as MoCo trains.
_base_ = 'mmdet::_base_/datasets/coco_instance.py'
backend_args = None
train_pipeline = [
    dict(type='mmdssl.LoadImage', skip_broken=True, backend_args=backend_args),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='RandomChoiceResize', scales=[(1333, side) for side in range(640, 801, 32)], keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_evaluator = dict(type='mmdssl.CocoMetric')
test_evaluator = val_evaluator
