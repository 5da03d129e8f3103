from __future__ import annotations

import pytest

from mmdssl.engine.hooks.record_hook import backbone_name, describe_backbone


@pytest.mark.parametrize('cfg, name', [
    (dict(type='mmdssl.VisionTransformer'), 'vit-s/16'),
    (dict(type='VisionTransformer', arch='base', patch_size=8), 'vit-b/8'),
    (dict(type='mmdssl.VisionTransformer', arch=dict(embed_dim=384, depth=12, num_heads=12)), 'vit-s/16'),
    (dict(type='mmdssl.VisionTransformer', arch=dict(embed_dim=128, depth=4, num_heads=2), patch_size=8), 'vit-4x128/8'),
    (dict(type='mmdet.ResNet', depth=50), 'resnet50'),
    (dict(type='TimmBackbone', name='resnet50'), 'resnet50'),
    (dict(type='mmdssl.TimmBackbone', name='caformer_m36.sail_in1k'), 'caformer-m36'),
    (dict(type='TimmBackbone', name='resnet18', stem_stride=2), 'resnet18-custom'),
    (dict(type='TimmBackbone', name='caformer', model_args=dict(dims=(8, 8, 32, 32))), 'caformer-custom'),
])
def test_backbones_are_called_as_in_the_published_rows(cfg, name):
    assert backbone_name(cfg) == name


def test_a_record_says_what_the_backbone_was_pretrained_with(tmp_path):
    file = tmp_path / 'backbone.safetensors'
    file.write_bytes(b'weights')
    cfg = dict(type='mmdssl.VisionTransformer', init_cfg=dict(type='SSLPretrained', checkpoint=str(file)))
    found = describe_backbone(cfg)
    assert found['pretrained']['path'] == str(file) and len(found['pretrained']['sha256']) == 16
    assert 'pretrained' not in describe_backbone(dict(cfg, init_cfg=None))
    assert describe_backbone(dict(cfg, init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50')))['pretrained'] == dict(
        path='torchvision://resnet50')
