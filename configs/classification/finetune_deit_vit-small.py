# DeiT, from 224 px: every image of an epoch comes three times.
_base_ = [
    '../_base_/models/classifier_vit-small.py', '../_base_/datasets/imagenet_finetune.py', '../_base_/schedules/finetune_deit.py',
    '../_base_/classification_runtime.py'
]
model = dict(ema=0.99996)
train_dataloader = dict(sampler=dict(repeats=3))
default_hooks = dict(
    checkpoint=dict(save_best='top1'),
    record=dict(task='finetune', dataset='imagenet-1k', framework='finetune-deit'))
