_base_ = [
    '../_base_/models/upernet_vit-small.py', 'mmseg::_base_/datasets/cityscapes_768x768.py', '../_base_/schedules/upernet_160k.py',
    '../_base_/mmseg_runtime.py'
]
model = dict(
    data_preprocessor=dict(size=(768, 768)),
    decode_head=dict(num_classes=19),
    auxiliary_head=dict(num_classes=19),
    test_cfg=dict(crop_size=(768, 768), stride=(512, 512)))
default_hooks = dict(record=dict(task='segmentation', dataset='cityscapes', framework='upernet-160k'))
