_base_ = [
    '../_base_/models/small_upernet.py', '../_base_/datasets/camvid.py', '../_base_/schedules/small_segmentation.py',
    '../_base_/mmseg_runtime.py'
]
model = dict(
    data_preprocessor=dict(seg_pad_val=11),
    decode_head=dict(num_classes=11, ignore_index=11),
    auxiliary_head=dict(num_classes=11, ignore_index=11))
default_hooks = dict(
    checkpoint=dict(interval=200), record=dict(task='segmentation', dataset='camvid', framework='upernet-small'))
