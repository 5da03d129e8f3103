# Mask R-CNN with a small ViT on a subset of COCO, in minutes on two cores.
_base_ = [
    '../_base_/models/small_mask-rcnn.py', '../_base_/datasets/small_coco.py', '../_base_/schedules/small_coco.py',
    '../_base_/mmdet_runtime.py'
]
default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=200),
    record=dict(task='detection', dataset='coco', framework='mask-rcnn-small'))
log_processor = dict(by_epoch=False)
