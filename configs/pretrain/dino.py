# DINO, ViT-S/16: 800 epochs, 2x224 + 10x96, global batch 1024. Source: the authors' code (facebookresearch/dino), whose step this is to
# rounding, with the arguments of their run of 800 epochs and, for clipping (3) and the last rate (1e-6), the defaults of their script.
# Different: the warm-up begins at 1e-9 of the rate, not at 0.
_base_ = [
    '../_base_/models/dino.py', '../_base_/datasets/imagenet.py', '../_base_/schedules/adamw_cosine.py',
    '../_base_/default_runtime.py'
]
model = dict(backbone=dict(position_rule='dino', remainder='cut'))
