# A thin ResNet of stride 16, about as costly as the small ViT.
_base_ = './dino.py'
model = dict(backbone=dict(
    _delete_=True, type='TimmBackbone', name='resnet18', stem_stride=2,
    model_args=dict(layers=(1, 1, 1, 1), channels=(32, 64, 96, 128))))
sync_bn = 'torch'
