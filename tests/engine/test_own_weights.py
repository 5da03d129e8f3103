"""Configs that take over the network of a checkpoint of timm's."""
from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config, ConfigDict

from mmdssl.checkpoint import save_backbone
from mmdssl.engine.own_weights import use_weights
from mmdssl.errors import InputError
from mmdssl.registry import MODELS

CONFIGS = Path(__file__).parents[2] / 'configs'
SMALL = dict(type='mmdssl.TimmBackbone', name='resnet18', model_args=dict(layers=(1, 1, 1, 1), channels=(8, 16, 24, 32)))


@pytest.fixture
def save(tmp_path):
    """Function that writes a backbone of a config and returns the path."""

    def write(config: dict) -> str:
        save_backbone(MODELS.build(config), tmp_path / 'b.safetensors', config)
        return str(tmp_path / 'b.safetensors')
    return write


def detector(backbone: dict) -> Config:
    """mmdet's with a feature pyramid on a backbone of timm's."""
    backbone = dict(backbone, out_indices=(1, 2, 3, 4), drop_path_rate=0.1)
    return Config(dict(model=dict(backbone=backbone, neck=dict(type='FPN', in_channels=[64, 128, 256, 512]))))


def test_another_network_of_timms_brings_its_widths(save):
    cfg = detector(dict(type='mmdssl.TimmBackbone', name='resnet18'))
    path = save(SMALL)
    use_weights(cfg, path)
    backbone = cfg.model.backbone
    assert list(backbone.model_args.channels) == [8, 16, 24, 32] and backbone.drop_path_rate == 0.1
    assert cfg.model.neck.in_channels == [8, 16, 24, 32] == list(MODELS.build(dict(backbone, init_cfg=None)).channels)
    assert backbone.init_cfg == dict(type='SSLPretrained', checkpoint=path, network=None)
    use_weights(cfg, path, load=False)
    assert cfg.model.backbone.init_cfg is None


def test_widths_follow_their_maps(save):
    """Although all maps of a transformer are as wide, and those of a residual network are not."""
    vit = dict(type='mmdssl.TimmBackbone', name='vit_tiny_patch16_224', model_args=dict(img_size=64, depth=5))
    cfg = detector(vit)
    cfg.model.pop('neck')
    cfg.model.decode_head = dict(type='UPerHead', in_channels=[192] * 4, in_index=[0, 1, 2, 3])
    cfg.model.auxiliary_head = dict(type='FCNHead', in_channels=192, in_index=2, num_convs=0)
    use_weights(cfg, save(SMALL))
    assert cfg.model.decode_head.in_channels == [8, 16, 24, 32] and cfg.model.auxiliary_head.in_channels == 24


def test_a_neck_of_other_widths_is_refused(save):
    cfg = detector(dict(type='mmdssl.TimmBackbone', name='resnet18'))
    cfg.model.neck.in_channels = [64, 128, 256, 500]
    with pytest.raises(InputError, match=r'FPN has in_channels=\[64, 128, 256, 500\], and the maps of the backbone are 64, 128, 256, 512'):
        use_weights(cfg, save(SMALL))


def test_a_video_config_has_no_widths_to_follow(save):
    cfg = Config(dict(model=dict(type='MaskPropagation', backbone=dict(type='mmdssl.TimmBackbone', name='convnext_atto'))))
    use_weights(cfg, save(SMALL))
    assert cfg.model.backbone.name == 'resnet18' and 'out_indices' not in cfg.model.backbone


def test_plain_resnets_are_alike_whoever_builds_them(save):
    path = save(dict(type='TimmBackbone', name='resnet50'))
    cfg = Config.fromfile(CONFIGS / 'detection/mask-rcnn_resnet50-c4_1x_coco.py')
    use_weights(cfg, path)
    init = dict(type='SSLPretrained', checkpoint=path, network=None)
    assert (cfg.model.backbone.type, cfg.model.backbone.init_cfg) == ('ResNet', init)
    assert cfg.model.roi_head.shared_head.init_cfg == init
    backbones = [MODELS.build(config) for config in (dict(cfg.model.backbone, type='mmdet.ResNet'),
                                                     dict(type='TimmBackbone', name='resnet50', init_cfg=init))]
    for backbone in backbones:
        backbone.init_weights()
    assert backbones[0].layer3[5].conv3.weight.equal(backbones[1].network.layer3[5].conv3.weight)


@pytest.mark.parametrize('found', [SMALL, dict(type='mmdssl.TimmBackbone', name='convnext_atto')])
def test_other_kinds_are_refused(found, save):
    for path in ('detection/mask-rcnn_resnet50-fpn_1x_coco.py', 'detection/mask-rcnn_vit-small_1x_coco.py'):
        with pytest.raises(InputError, match='use a config for that kind of network'):
            use_weights(Config.fromfile(CONFIGS / path), save(found))
    cfg = ConfigDict(model=dict(backbone=dict(type='mmdssl.TimmBackbone', name='convnext_atto')), filename='c.py')
    vit = dict(type='VisionTransformer', arch=dict(embed_dim=16, depth=1, num_heads=2))
    with pytest.raises(InputError, match='holds a mmdssl.VisionTransformer and c.py has a mmdssl.TimmBackbone'):
        use_weights(cfg, save(vit))


@pytest.mark.parametrize('config', ['classification/knn', 'classification/linear_mocov3', 'retrieval/roxford5k'])
def test_what_reads_features_takes_any_kind(config, save):
    cfg = Config.fromfile(CONFIGS / f'{config}.py')
    assert cfg.model.backbone.type.endswith('VisionTransformer')
    use_weights(cfg, save(SMALL))
    assert cfg.model.backbone.name == 'resnet18'


def test_a_model_without_the_key_says_what_to_do(save):
    cfg = Config(dict(model=dict(type='Mine', encoder=SMALL)))
    with pytest.raises(InputError, match=r'has no model.backbone .* init_cfg=dict\(type=.SSLPretrained'):
        use_weights(cfg, save(SMALL))


def test_what_masks_nothing_has_no_mask_token(save):
    """A distributed run would wait for its gradient; a method of pretraining keeps its own."""
    path = save(dict(type='mmdssl.VisionTransformer', arch=dict(embed_dim=16, depth=4, num_heads=2), mask_token=True))
    tokens = {}
    for name in ('classification/linear_dino', 'segmentation/semfpn_vit-small_40k_ade20k', 'pretrain/pqcl'):
        cfg = Config.fromfile(CONFIGS / f'{name}.py')
        use_weights(cfg, path)
        tokens[name.partition('/')[0]] = MODELS.build(dict(cfg.model.backbone, type='mmdssl.VisionTransformer')).mask_token is not None
    assert tokens == dict(classification=False, segmentation=False, pretrain=True)
