"""The backbone against timm's, and what queries, masks and input sizes may and may not change."""
from __future__ import annotations

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.layers import DropPath

from mmdssl.errors import InputError
from mmdssl.models.backbones import VisionTransformer
from mmdssl.models.backbones.vision_transformer import ARCHITECTURES
from mmdssl.models.layers.attention import QUERY_KEYS
from mmdssl.models.layers.position import integer_grid, sincos2d

SIZES = dict(embed_dim=32, depth=3, num_heads=4)


def make_vit(**kwargs) -> VisionTransformer:
    vit = VisionTransformer(**dict(dict(arch=SIZES, patch_size=8, img_size=32), **kwargs))
    with torch.no_grad():
        for parameter in vit.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return vit.eval()


@pytest.mark.parametrize('layer_scale', [None, 0.1])
@pytest.mark.parametrize('size', [(32, 32), (48, 24), (16, 16)])
@torch.no_grad()
def test_equals_timms_with_the_same_weights(layer_scale, size):
    ours = make_vit(layer_scale=layer_scale, position_rule='antialias')
    timms = timm.models.VisionTransformer(img_size=32, patch_size=8, **SIZES, init_values=layer_scale, num_classes=0,
                                          dynamic_img_size=True).eval()
    timms.load_state_dict(ours.state_dict())
    images = torch.randn(2, 3, *size)
    expected = timms.forward_features(images)
    tokens = ours.forward_tokens(images)
    torch.testing.assert_close(tokens.cls, expected[:, 0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(tokens.patches, expected[:, 1:], rtol=1e-4, atol=1e-5)
    assert tokens.queries.shape == (2, 0, 32)


@pytest.mark.parametrize('name, parameters', [('tiny', 5.5e6), ('small', 21.7e6), ('base', 85.8e6), ('large', 303.3e6)])
def test_named_architectures(name, parameters):
    with torch.device('meta'):
        timms = timm.create_model(f'vit_{name}_patch16_224', num_classes=0)
    shapes = {key: value.shape for key, value in timms.state_dict().items()}
    assert sum(shape.numel() for shape in shapes.values()) == pytest.approx(parameters, rel=0.01)
    sizes = ARCHITECTURES[name]
    assert shapes['pos_embed'] == (1, 197, sizes['embed_dim'])
    assert len(timms.blocks) == sizes['depth'] and timms.blocks[0].attn.num_heads == sizes['num_heads']


def test_initialisation():
    vit = VisionTransformer(dict(embed_dim=256, depth=1, num_heads=4), 16, 224, mask_token=True)
    for parameter in (vit.pos_embed, vit.blocks[0].attn.qkv.weight, vit.blocks[0].mlp.fc2.weight):
        assert parameter.std().item() == pytest.approx(0.02, rel=0.05)
    assert not vit.mask_token.any() and not vit.blocks[0].attn.qkv.bias.any()
    assert vit.patch_embed.proj.bias.any(), "the patch projection keeps the framework's initialisation"
    assert vit.norm.eps == vit.blocks[0].norm1.eps == 1e-6


@pytest.mark.parametrize('position', ['learnable', 'sincos'])
@pytest.mark.parametrize('size', [(70, 45), (8, 8), (33, 96), (5, 5)])
@torch.no_grad()
def test_any_size_is_padded_with_zeros_to_whole_patches(position, size):
    vit = make_vit(position=position)
    images = torch.randn(2, 3, *size)
    padded = F.pad(images, (0, -size[1] % 8, 0, -size[0] % 8))
    rows, columns = padded.shape[2] // 8, padded.shape[3] // 8
    tokens = vit.forward_tokens(images)
    assert tokens.patches.shape == (2, rows * columns, 32)
    torch.testing.assert_close(tokens.patches, vit.forward_tokens(padded).patches)
    feature_map, = vit(images)
    assert feature_map.shape == (2, 32, rows, columns)
    torch.testing.assert_close(feature_map.flatten(2).transpose(1, 2), tokens.patches)
    torch.testing.assert_close(vit.features(images), tokens.cls)


@torch.no_grad()
def test_feature_maps_of_chosen_blocks_are_timms_intermediate_layers():
    ours = make_vit(out_indices=(-1, 0))
    timms = timm.models.VisionTransformer(img_size=32, patch_size=8, **SIZES, num_classes=0).eval()
    timms.load_state_dict(ours.state_dict())
    images = torch.randn(2, 3, 32, 32)
    for out_norm in (True, False):
        ours.out_norm = out_norm
        expected = timms.get_intermediate_layers(images, n=[0, 2], reshape=True, norm=out_norm)
        maps = ours(images)
        assert len(maps) == 2
        for actual, reference in zip(maps, expected):
            torch.testing.assert_close(actual, reference, rtol=1e-4, atol=1e-5)


def queries_for(vit: VisionTransformer, number: int) -> torch.Tensor:
    return vit.embed_query_pixels(torch.randn(2, number, 3, 8, 8))


@pytest.mark.parametrize('query_keys', QUERY_KEYS)
@pytest.mark.parametrize('training', [False, True])
@torch.no_grad()
def test_image_outputs_are_the_same_with_and_without_queries(query_keys, training):
    """In training too: stochastic depth draws as many numbers, one per sample. Both-way attention is the exception."""
    vit = make_vit(drop_path_rate=0.5, query_keys=query_keys).train(training)
    images = torch.randn(2, 3, 32, 32)
    queries = queries_for(vit, 10)
    torch.manual_seed(3)
    without = vit.forward_tokens(images)
    torch.manual_seed(3)
    tokens = vit.forward_tokens(images, queries=queries)
    same = [torch.allclose(getattr(tokens, name), getattr(without, name), atol=1e-5) for name in ('cls', 'patches')]
    assert same == [query_keys != 'bidirectional'] * 2


@pytest.mark.parametrize('query_keys', ['image', 'patches'])
@torch.no_grad()
def test_queries_do_not_depend_on_each_other(query_keys):
    vit = make_vit(query_keys=query_keys)
    images = torch.randn(2, 3, 32, 32)
    queries = queries_for(vit, 6)
    together = vit.forward_tokens(images, queries=queries).queries
    for some in (torch.randperm(6), torch.tensor([4])):
        actual = vit.forward_tokens(images, queries=queries[:, some]).queries
        torch.testing.assert_close(actual, together[:, some], rtol=0, atol=1e-5)
    of_another_image = vit.forward_tokens(-images, queries=queries).queries
    assert not torch.allclose(of_another_image, together, atol=1e-2)


def test_gradient_from_image_outputs_to_query_pixels_is_exactly_zero():
    vit = make_vit()
    crops = torch.randn(2, 5, 3, 8, 8, requires_grad=True)
    tokens = vit.forward_tokens(torch.randn(2, 3, 32, 32), queries=vit.embed_query_pixels(crops))
    image = tokens.cls.square().sum() + tokens.patches.square().sum()
    assert not torch.autograd.grad(image, crops, retain_graph=True)[0].any()
    assert torch.autograd.grad(tokens.queries.square().sum(), crops)[0].flatten(2).any(-1).all()


@torch.no_grad()
def test_masked_patches_are_invisible_and_keep_their_position():
    vit = make_vit(mask_token=True)
    images, mask = torch.randn(2, 3, 32, 32), torch.rand(2, 16) > 0.5
    pixels = F.interpolate(mask.view(2, 1, 4, 4).float(), scale_factor=8)
    tokens = vit.forward_tokens(images, mask)
    torch.testing.assert_close(vit.forward_tokens(images + 9 * pixels, mask).patches, tokens.patches)
    assert not torch.allclose(vit.forward_tokens(images + 9 * (1 - pixels), mask).patches, tokens.patches)
    embedded = vit.embed(images, mask)[:, 1:]
    expected = (vit.mask_token[0] + vit.pos_embed[0, 1:]).expand(2, -1, -1)
    torch.testing.assert_close(embedded[mask], expected[mask])
    torch.testing.assert_close(embedded[~mask], vit.embed(images)[:, 1:][~mask])


def test_stochastic_depth_grows_from_zero_to_the_rate():
    vit = make_vit(drop_path_rate=0.3)
    rates = [[m.drop_prob for m in block.modules() if isinstance(m, DropPath)] for block in vit.blocks]
    assert rates == [[], [pytest.approx(0.15)] * 2, [pytest.approx(0.3)] * 2]


def test_fixed_positions_add_no_parameter_and_leave_the_class_token():
    vit = make_vit(position='sincos')
    assert 'pos_embed' not in vit.state_dict()
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(vit.embed(images)[0, 0], vit.cls_token[0, 0])
    added = vit.embed(images)[:, 1:] - vit.patch_embed(images)
    torch.testing.assert_close(added[0], sincos2d(*integer_grid((4, 4)).unbind(-1), 32), rtol=0, atol=1e-5)


@torch.no_grad()
def test_attention_maps_are_the_softmax_of_the_last_block():
    vit = make_vit()
    images = torch.randn(2, 3, 32, 48)
    read = {}
    vit.blocks[-1].norm1.register_forward_hook(lambda module, args, output: read.update(x=output))
    vit.forward_tokens(images)
    attention = vit.blocks[-1].attn
    q, k, _ = F.linear(read['x'], attention.qkv.weight, attention.qkv.bias).split(32, -1)
    maps = vit.attention_maps(images)
    assert maps.shape == (2, 4, 4, 6)
    for head in range(4):
        part = slice(8 * head, 8 * head + 8)
        rows = (torch.einsum('bd,bnd->bn', q[:, 0, part], k[..., part]) / 8 ** 0.5).exp()
        rows = rows / rows.sum(-1, keepdim=True)
        torch.testing.assert_close(maps[:, head].flatten(1), rows[:, 1:], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(maps[:, head].sum((1, 2)), 1 - rows[:, 0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('position', ['learnable', 'sincos'])
@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16])
@torch.no_grad()
def test_model_of_another_precision_takes_images_of_any_size(position, dtype):
    vit = make_vit(position=position).to(dtype)
    assert vit.forward_tokens(torch.randn(1, 3, 48, 48, dtype=dtype)).cls.dtype == dtype


@pytest.mark.parametrize('settings, message', [
    (dict(arch='huge'), "unknown arch 'huge': use one of tiny, small, base, large"),
    (dict(img_size=30), 'img_size 30 is not a multiple of patch_size 8'),
    (dict(position='rotary'), "position is 'learnable' or 'sincos', got 'rotary'"),
    (dict(query_keys='all'), "query_keys is one of image, patches, image.queries, bidirectional, got 'all'"),
    (dict(arch=dict(embed_dim=16, depth=1, num_heads=2, mlp_ratio=2)), 'embed_dim, depth and num_heads, and reads no other'),
    (dict(arch=dict(embed_dim=30, depth=1, num_heads=4)), 'embed_dim 30 cannot be cut into 4 heads'),
])
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        make_vit(**settings)


def test_queries_and_masks_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match='mask_token=True'):
        make_vit(position='sincos').embed_query_positions(torch.zeros(1, 2, 2))
    with pytest.raises(InputError, match="position='sincos'"):
        make_vit(mask_token=True).embed_query_positions(torch.zeros(1, 2, 2))
    with pytest.raises(InputError, match='pixel queries are 16 px, a patch is 8 px'):
        make_vit().embed_query_pixels(torch.zeros(1, 2, 3, 16, 16))
    with pytest.raises(InputError, match='mask_token=True'):
        make_vit().forward_tokens(torch.zeros(1, 3, 32, 32), torch.ones(1, 16, dtype=torch.bool))
    with pytest.raises(InputError, match=r'masks of shape \(1, 9\) do not fit patches \(1, 16\)'):
        make_vit(mask_token=True).forward_tokens(torch.zeros(1, 3, 32, 32), torch.ones(1, 9, dtype=torch.bool))
