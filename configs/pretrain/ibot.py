# iBOT, ViT-S/16: 800 epochs, 2x224 + 10x96, global batch 1024. Half of the global views are masked, U(0.1, 0.5) of their patches.
_base_ = [
    '../_base_/models/ibot.py', '../_base_/datasets/imagenet.py', '../_base_/schedules/adamw_cosine.py',
    '../_base_/default_runtime.py'
]
train_dataloader = dict(dataset=dict(views=dict(
    global_=dict(mask=dict(type='BlockMask', patch_size=16, ratio=(0.0, 0.3), variance=(0.0, 0.2))),
)))
