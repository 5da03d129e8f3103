from __future__ import annotations

import pytest

from mmdssl.models.backbones.names import backbone_name


@pytest.mark.parametrize('cfg, name', [
    (dict(type='mmdssl.VisionTransformer'), 'vit-s/16'),
    (dict(type='VisionTransformer', arch='base', patch_size=8), 'vit-b/8'),
    (dict(type='mmdssl.VisionTransformer', arch=dict(embed_dim=384, depth=12, num_heads=12)), 'vit-s/16'),
    (dict(type='mmdssl.VisionTransformer', arch=dict(embed_dim=128, depth=4, num_heads=2), patch_size=8), 'vit-4x128/8'),
    (dict(type='mmdet.ResNet', depth=50), 'resnet50'),
    (dict(type='mmseg.VisionTransformer', embed_dims=192), 'visiontransformer'),
    (dict(type='TimmBackbone', name='resnet50'), 'resnet50'),
    (dict(type='mmdssl.TimmBackbone', name='caformer_m36.sail_in1k'), 'caformer-m36'),
    (dict(type='TimmBackbone', name='resnet18', stem_stride=2), 'resnet18-custom'),
    (dict(type='TimmBackbone', name='resnet18', branches=4), 'resnet18-custom'),
    (dict(type='TimmBackbone', name='caformer', model_args=dict(dims=(8, 8, 32, 32))), 'caformer-custom'),
])
def test_backbones_are_called_as_in_the_published_rows(cfg, name):
    assert backbone_name(cfg) == name
