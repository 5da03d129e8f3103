# BAM, timm's CAFormer-M36 (StarReLU and scaled residuals; the authors' own has GELU and none). Source: the paper, otherwise as bam.py.
_base_ = './bam.py'
model = dict(backbone=dict(_delete_=True, type='TimmBackbone', name='caformer_m36'))
