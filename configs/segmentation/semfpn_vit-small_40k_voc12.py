_base_ = [
    '../_base_/models/semfpn_vit-small.py', 'mmseg::_base_/datasets/pascal_voc12_aug.py', '../_base_/schedules/semfpn_40k.py',
    '../_base_/mmseg_runtime.py'
]
model = dict(decode_head=dict(num_classes=21))
default_hooks = dict(record=dict(task='segmentation', dataset='voc12', framework='fpn-40k'))
