from __future__ import annotations

import pytest
import torch

from mmdssl.checkpoint import backbone_config, load_backbone, save_backbone
from mmdssl.engine.own_weights import use_weights
from mmdssl.errors import InputError
from mmdssl.models.backbones.names import backbone_name, plain_config
from mmdssl.registry import MODELS


@pytest.fixture
def config(tiny_backbone):
    return dict(type='mmdssl.PositionFree', backbone=tiny_backbone, width=16, directions=3, blocks=[1])


@pytest.fixture
def free(config):
    return with_directions(MODELS.build(config).eval())


def with_directions(network):
    network.directions.copy_(torch.linalg.qr(torch.randn(16, 3)).Q.T)
    return network


def without(features, network):
    """By a loop over directions."""
    for direction in network.directions[0]:
        features = features - (features * direction).sum(-1, keepdim=True) * direction
    return features


IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_patches_lose_the_directions_and_class_tokens_stay(free):
    (plain_class, plain), = free.network.intermediates(IMAGES, [1])
    (found_class, found), = free.intermediates(IMAGES, [1])
    torch.testing.assert_close(found, without(plain, free))
    assert torch.equal(found_class, plain_class)
    assert (found @ free.directions[0].T).abs().max() < 1e-5 < 0.1 < (plain @ free.directions[0].T).abs().max()
    torch.testing.assert_close(free(IMAGES)[0].flatten(2).transpose(1, 2), found)
    assert torch.equal(free.features(IMAGES), free.network.features(IMAGES))
    assert torch.equal(free.attention_maps(IMAGES), free.network.attention_maps(IMAGES))


@pytest.mark.parametrize('change', [dict(pool='mean'), dict(class_token=False)])
def test_vectors_made_of_patches_are_means_of_the_free_ones(config, tiny_backbone, change):
    free = with_directions(MODELS.build(dict(config, backbone=dict(tiny_backbone, **change))).eval())
    torch.testing.assert_close(free.features(IMAGES), without(free.network.features(IMAGES), free))


def test_mixed_precision_leaves_nothing_of_the_directions(free):
    with torch.autocast('cpu', torch.bfloat16):
        (_, found), = free.intermediates(IMAGES, [1])
    assert (found.float() @ free.directions[0].T).abs().max() < 1e-5


@pytest.mark.parametrize('read, option', [
    (dict(blocks=[0]), 'blocks=[0]'), (dict(blocks=[1], facet='key'), 'facet=key'), (dict(blocks=[1], norm=False), 'norm=False')])
def test_what_nobody_has_measured_is_refused(free, read, option):
    with pytest.raises(InputError, match='the token of block 1, and what is read') as refused:
        free.intermediates(IMAGES, **read)
    assert f'measure positions with --cfg-options test_evaluator.extractor.{option}, which' in str(refused.value)


def test_keys_can_lose_theirs(config):
    free = with_directions(MODELS.build(dict(config, facet='key', norm=True)).eval())
    (_, plain), = free.network.intermediates(IMAGES, [1], 'key', norm=False)
    (_, found), = free.intermediates(IMAGES, [1], 'key', norm=False)
    torch.testing.assert_close(found, without(plain, free))
    with pytest.raises(InputError, match='the key of block 1, and what is read is the token'):
        free(IMAGES)


def test_it_is_a_checkpoint_as_any_other(free, config, tiny_backbone, tmp_path):
    config['backbone'] = dict(tiny_backbone, mask_token=True)
    masking = with_directions(MODELS.build(config).eval())
    save_backbone(masking, tmp_path / 'free.safetensors', config)
    loaded = load_backbone(tmp_path / 'free.safetensors')
    assert torch.equal(loaded(IMAGES)[0], masking(IMAGES)[0])
    assert backbone_name(backbone_config(tmp_path / 'free.safetensors')) == 'vit-2x16/8-position-free'


@pytest.mark.parametrize('model', ['FrozenBackbone', 'MaskPropagation'])
def test_a_task_takes_it_in_place_of_its_transformer(config, tiny_backbone, tmp_path, model):
    from mmengine.config import Config
    config['backbone'] = dict(tiny_backbone, mask_token=True)
    free = with_directions(MODELS.build(config).eval())
    save_backbone(free, tmp_path / 'free.safetensors', config)
    cfg = Config(dict(model=dict(type=model, backbone=dict(type='mmdssl.VisionTransformer', out_indices=[-1]))))
    use_weights(cfg, str(tmp_path / 'free.safetensors'))
    backbone = MODELS.build(cfg.model).backbone
    assert torch.equal(backbone(IMAGES)[0], free(IMAGES)[0])
    assert plain_config(cfg.model.backbone).out_indices == [-1]


@pytest.mark.parametrize('model', ['AttentionMasks', 'AttentionDiscovery'])
def test_protocols_of_attention_would_measure_the_plain_backbone(config, model):
    with pytest.raises(InputError, match='out of the token of block 1, and what is read is the attention of the class token'):
        MODELS.build(dict(type=model, backbone=config))
