_base_ = './bam.py'
model = dict(backbone=dict(arch=dict(embed_dim=768)))
