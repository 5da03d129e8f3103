_base_ = './linear_bam.py'
model = dict(
    backbone=dict(_delete_=True, type='TimmBackbone', name='resnet50'),
    extractor=dict(read='pooled'),
    rates=[0.3])
