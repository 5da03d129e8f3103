_base_ = './linear_mocov3.py'
model = dict(
    backbone=dict(_delete_=True, type='TimmBackbone', name='resnet50'),
    extractor=dict(read='pooled'),
    rates=[0.1])
