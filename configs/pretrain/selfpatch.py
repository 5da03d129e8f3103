# SelfPatch on DINO, ViT-S/16 without class token: 200 epochs, 2x224 + 8x96, global batch 1024 (8 GPUs of 128 images).
# Source: the authors' code (alinlab/SelfPatch) and the 200 epochs of their table; temperatures are the defaults of their script. Different:
# none is known in a step. Their checkpoints, with both networks and heads, are continued with --cfg-options load_from=FILE.
_base_ = [
    '../_base_/models/selfpatch.py', '../_base_/datasets/imagenet.py', '../_base_/schedules/adamw_cosine.py',
    '../_base_/default_runtime.py'
]
train_dataloader = dict(batch_size=128, dataset=dict(views=dict(local=dict(num=8))))
train_cfg = dict(max_epochs=200)
model = dict(backbone=dict(position_rule='dino', remainder='cut'))
