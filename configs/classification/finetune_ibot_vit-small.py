# iBOT: BEiT's recipe on the class token, without a moving average and repeated images. Its authors sweep the rate.
_base_ = [
    '../_base_/models/classifier_vit-small.py', '../_base_/datasets/imagenet_finetune.py', '../_base_/schedules/finetune_beit.py',
    '../_base_/classification_runtime.py'
]
model = dict(head_std=2e-5)
val_dataloader = dict(dataset=dict(interpolation='bilinear'))
test_dataloader = val_dataloader
default_hooks = dict(
    checkpoint=dict(save_best='top1'),
    record=dict(task='finetune', dataset='imagenet-1k', framework='finetune-ibot'))
