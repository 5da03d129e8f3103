_base_ = [
    '../_base_/models/semfpn_vit-small.py', '../_base_/datasets/ade20k.py', '../_base_/schedules/semfpn_40k.py',
    '../_base_/mmseg_runtime.py'
]
default_hooks = dict(record=dict(task='segmentation', dataset='ade20k', framework='fpn-40k'))
