from __future__ import annotations

from mmdssl.engine.hooks.record_hook import describe_backbone


def test_a_record_says_what_the_backbone_was_pretrained_with(tmp_path):
    file = tmp_path / 'backbone.safetensors'
    file.write_bytes(b'weights')
    cfg = dict(type='mmdssl.VisionTransformer', init_cfg=dict(type='SSLPretrained', checkpoint=str(file)))
    found = describe_backbone(cfg)
    assert found['pretrained']['path'] == str(file) and len(found['pretrained']['sha256']) == 16
    assert 'pretrained' not in describe_backbone(dict(cfg, init_cfg=None))
    assert describe_backbone(dict(cfg, init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50')))['pretrained'] == dict(
        path='torchvision://resnet50')
