# DINO, ViT-S/16: 800 epochs, 2x224 + 10x96, global batch 1024.
_base_ = [
    '../_base_/models/dino.py', '../_base_/datasets/imagenet.py', '../_base_/schedules/adamw_cosine.py',
    '../_base_/default_runtime.py'
]
