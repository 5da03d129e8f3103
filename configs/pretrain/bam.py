# BAM, ViT-S/16 with 12 heads: 300 epochs, 2x224 + 6x96, global batch 4096 (16 GPUs of 256 images). Source: the paper, and the authors' code
# for what it leaves open (clipping at 0.3, a projector of three layers); their scripts, which differ from the paper: bam_scripts.py.
# Different: the rate of 3e-3 is read as that of 4096 images, and positions of local views are evaluated where the code resizes a table.
_base_ = [
    '../_base_/models/bam.py', '../_base_/datasets/imagenet_bam.py', '../_base_/schedules/bam_adamw.py',
    '../_base_/default_runtime.py'
]
