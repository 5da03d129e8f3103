# BAM, ViT-B/16: as bam.py. Source: the paper.
_base_ = './bam.py'
model = dict(backbone=dict(arch=dict(embed_dim=768)))
