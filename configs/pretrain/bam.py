# BAM, ViT-S/16 with 12 heads: 300 epochs, 2x224 + 6x96, global batch 4096 (16 GPUs of 256 images).
_base_ = [
    '../_base_/models/bam.py', '../_base_/datasets/imagenet_bam.py', '../_base_/schedules/bam_adamw.py',
    '../_base_/default_runtime.py'
]
