_base_ = [
    '../_base_/models/semfpn_vit-small.py', 'mmseg::_base_/datasets/cityscapes_768x768.py', '../_base_/schedules/semfpn_40k.py',
    '../_base_/mmseg_runtime.py'
]
model = dict(data_preprocessor=dict(size=(768, 768)), decode_head=dict(num_classes=19))
default_hooks = dict(record=dict(task='segmentation', dataset='cityscapes', framework='fpn-40k'))
