# iBOT, ViT-S/16: 800 epochs, 2x224 + 10x96, global batch 1024. Half of the global views are masked, U(0.1, 0.5) of their patches.
# Source: the authors' code (bytedance/ibot), whose step this is to rounding, with the arguments of their run of ViT-S. Different: the
# warm-up begins at 1e-9 of the rate, not at 0; masks are drawn as theirs, from other random numbers.
_base_ = [
    '../_base_/models/ibot.py', '../_base_/datasets/imagenet.py', '../_base_/schedules/adamw_cosine.py',
    '../_base_/default_runtime.py'
]
model = dict(
    backbone=dict(position_rule='dino', remainder='cut'),
    teacher_temperature=dict(_delete_=True, cls=(0.04, 0.07, 30), patch=(0.04, 0.07, 30)))
train_dataloader = dict(dataset=dict(views=dict(
    global_=dict(mask=dict(type='BlockMask', patch_size=16, ratio=(0.0, 0.3), variance=(0.0, 0.2))),
)))
