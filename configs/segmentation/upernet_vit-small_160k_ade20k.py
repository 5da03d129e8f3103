# iBOT's recipe for ViT-S. The published spread comes with lr in {3e-5, 6e-5, 1e-4}: sweep optim_wrapper.optimizer.lr.
_base_ = [
    '../_base_/models/upernet_vit-small.py', '../_base_/datasets/ade20k.py', '../_base_/schedules/upernet_160k.py',
    '../_base_/mmseg_runtime.py'
]
default_hooks = dict(record=dict(task='segmentation', dataset='ade20k', framework='upernet-160k'))
