_base_ = './linear_dino.py'
model = dict(
    backbone=dict(_delete_=True, type='TimmBackbone', name='resnet50'),
    extractor=dict(blocks=1, read='pooled'))
