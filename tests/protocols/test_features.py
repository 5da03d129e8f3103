from __future__ import annotations

import pytest
import torch
from torch import nn

from mmdssl.errors import InputError
from mmdssl.models import backbones  # noqa: F401  registers them
from mmdssl.protocols.features import Extractor
from mmdssl.registry import MODELS


@pytest.fixture
def vit(tiny_backbone):
    backbone = MODELS.build(dict(tiny_backbone, arch=dict(embed_dim=16, depth=3, num_heads=2), num_registers=1)).eval()
    for parameter in backbone.parameters():
        nn.init.normal_(parameter, std=0.1)
    return backbone


@pytest.fixture
def images():
    return torch.randn(2, 3, 32, 24)


def seen_by_hooks(vit, images):
    """What every block returns, and what the attention of each makes of its input."""
    tokens, qkv = [], []
    hooks = [hook for block in vit.blocks for hook in (
        block.register_forward_hook(lambda module, args, output: tokens.append(output)),
        block.attn.register_forward_pre_hook(lambda module, args: qkv.append(module.qkv(args[0]))))]
    vit.features(images)
    for hook in hooks:
        hook.remove()
    return tokens, qkv


def test_the_default_is_what_the_backbone_gives(vit, images):
    assert torch.equal(Extractor()(vit, images), vit.features(images))
    assert torch.equal(Extractor(read='class')(vit, images), vit.features(images))
    assert torch.equal(Extractor(blocks=[-1])(vit, images), vit.features(images))


@pytest.mark.parametrize('norm', [True, False])
def test_reads_of_several_blocks(vit, images, norm):
    tokens, _ = seen_by_hooks(vit, images)
    one, two = (vit.norm(each) if norm else each for each in tokens[1:])
    last = dict(blocks=2, norm=norm)
    for read, wanted in {'class': [one[:, 0], two[:, 0]], 'mean': [one[:, 2:].mean(1), two[:, 2:].mean(1)],
                         'class+mean': [one[:, 0], two[:, 0], two[:, 2:].mean(1)], 'pooled': [one[:, 0], two[:, 0]],
                         'patches': [one[:, 2:], two[:, 2:]]}.items():
        assert torch.equal(Extractor(read=read, **last)(vit, images), torch.cat(wanted, -1)), read
    assert torch.equal(Extractor(blocks=[1, 2], norm=norm)(vit, images), Extractor(**last)(vit, images))


@pytest.mark.parametrize('facet', ['query', 'key', 'value'])
def test_queries_keys_and_values(vit, images, facet):
    wanted = seen_by_hooks(vit, images)[1][1].chunk(3, -1)[['query', 'key', 'value'].index(facet)]
    assert torch.equal(Extractor(blocks=[1], facet=facet, read='patches')(vit, images), wanted[:, 2:])
    assert torch.equal(Extractor(blocks=[1], facet=facet, read='class')(vit, images), wanted[:, 0])


def test_a_backbone_without_class_token_is_pooled_by_the_mean(tiny_backbone, images):
    vit = MODELS.build(dict(tiny_backbone, class_token=False)).eval()
    assert torch.equal(Extractor(blocks=[1])(vit, images), vit.features(images))
    with pytest.raises(InputError, match="VisionTransformer has no class token, which the extractor's read='class' asks for"):
        Extractor(read='class')(vit, images)


def test_stages_of_a_network_of_timm(images):
    backbone = MODELS.build(dict(type='mmdssl.TimmBackbone', name='resnet18', model_args=dict(channels=(8, 8, 16, 16)))).eval()
    maps = backbone.network.forward_intermediates(images, [3, 4], intermediates_only=True)
    assert torch.equal(Extractor()(backbone, images), backbone.features(images))
    wanted = torch.cat([each.mean((2, 3)) for each in maps], 1)
    torch.testing.assert_close(Extractor(blocks=2, read='mean')(backbone, images), wanted)
    torch.testing.assert_close(Extractor(blocks=2)(backbone, images), wanted)
    assert torch.equal(Extractor(read='patches')(backbone, images), maps[1].flatten(2).transpose(1, 2))
    with pytest.raises(InputError, match='maps of TimmBackbone are of several sizes'):
        Extractor(blocks=2, read='patches')(backbone, images)
    with pytest.raises(InputError, match="the key of attention cannot be read from timm's resnet18"):
        Extractor(facet='key')(backbone, images)


def test_a_vision_transformer_of_timm_as_ours(images):
    backbone = MODELS.build(dict(type='mmdssl.TimmBackbone', name='vit_tiny_patch16_224', model_args=dict(
        img_size=32, patch_size=8, depth=2, embed_dim=16, num_heads=2))).eval()
    images = images[..., :24, :]
    torch.testing.assert_close(Extractor(read='class')(backbone, images), backbone.features(images))
    tokens = backbone.network.forward_features(images)
    torch.testing.assert_close(Extractor(read='patches')(backbone, images), tokens[:, 1:])
    assert Extractor(blocks=2, read='class+mean')(backbone, images).shape == (2, 48)


def test_what_cannot_be_read_is_an_input_error(vit, images):
    for blocks in (4, [3], [-4]):
        with pytest.raises(InputError, match='and the backbone has 3: give the last so many, or numbers from 0 to 2'):
            Extractor(blocks=blocks)(vit, images)
    with pytest.raises(InputError, match="Extractor has read='cls': give .*did you mean 'class'"):
        Extractor(read='cls')
    with pytest.raises(InputError, match=r'features need a backbone with features\(images\)'):
        Extractor()(nn.Linear(2, 2), images)


def test_an_extractor_is_described_by_a_dict():
    assert Extractor.of(None, read='patches') == Extractor.of({}, read='patches') == Extractor(read='patches')
    assert Extractor.of(dict(facet='key'), read='patches') == Extractor(facet='key', read='patches')
    assert Extractor.of(dict(read='class'), read='patches') == Extractor.of(Extractor(read='class'), read='patches')
    with pytest.raises(InputError, match=r'the extractor is "{\'read\': \'key\'}": give a dict such as'):
        Extractor.of("{'read': 'key'}")
