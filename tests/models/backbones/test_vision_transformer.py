"""The backbone against timm's, and what queries, masks and input sizes may and may not change."""
from __future__ import annotations

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.layers import DropPath

from mmdssl.engine import OptimWrapperConstructor
from mmdssl.errors import InputError
from mmdssl.models.backbones import VisionTransformer
from mmdssl.models.backbones.vision_transformer import ARCHITECTURES, Tokens
from mmdssl.models.layers.attention import QUERY_KEYS
from mmdssl.models.layers.feature_pyramid import FeaturePyramid
from mmdssl.models.layers.position import integer_grid, sincos2d

SIZES = dict(embed_dim=32, depth=3, num_heads=4)
SOME_PATCHES = [1, 19, 20, 50, 79]  # of four images of 20


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


def test_initialisation_of_moco_v3():
    """Uniform, query, key and value as three matrices, a class token near zero: timm's own, but for the patch projection."""
    torch.manual_seed(5)
    ours = VisionTransformer(dict(embed_dim=256, depth=1, num_heads=4), 16, 224, init='moco')
    torch.manual_seed(5)
    timms = timm.models.VisionTransformer(embed_dim=256, depth=1, num_heads=4, num_classes=0, weight_init='moco')
    for name, parameter in ours.named_parameters():
        expected = timms.get_parameter(name)
        if parameter.ndim > 1:
            assert parameter.std().item() == pytest.approx(expected.std().item(), rel=0.15), name
        elif not name.startswith('patch_embed'):
            assert torch.equal(parameter, expected), name
    assert ours.cls_token.abs().max() < 1e-5
    bound = (6 / 512) ** 0.5
    assert 0.99 * bound < ours.blocks[0].attn.qkv.weight.abs().max() <= bound
    torch.manual_seed(5)
    released = VisionTransformer(dict(embed_dim=256, depth=1, num_heads=4), 16, 224, init='mocov3')
    projection, bound = released.patch_embed.proj, (6 / (3 * 16**2 + 256))**0.5
    assert 0.99 * bound < projection.weight.abs().max() <= bound and not projection.bias.any()
    assert all(torch.equal(parameter, ours.get_parameter(name)) for name, parameter in released.blocks.named_parameters('blocks'))
    with pytest.raises(InputError, match="init='zeros': give 'dino', 'moco', 'mocov3', 'mae' or 'beit'"):
        VisionTransformer(init='zeros')


def test_frozen_patch_projection_is_not_trained():
    vit = VisionTransformer(SIZES, 8, 32, frozen_patch_embed=True)
    frozen = {name for name, parameter in vit.named_parameters() if not parameter.requires_grad}
    assert frozen == {'patch_embed.proj.weight', 'patch_embed.proj.bias'}
    rules = OptimWrapperConstructor(dict(optimizer=dict(type='AdamW', lr=0.1))).rules(vit)
    assert not [rule.name for rule in rules if rule.name.startswith('patch_embed')] and len(rules) > 10


@torch.no_grad()
def test_heat_map_is_the_sum_of_the_attention_maps():
    vit, images = make_vit(), torch.randn(2, 3, 32, 48)
    heat = vit.heat_map(images)
    assert heat.shape == (2, 4, 6)
    torch.testing.assert_close(heat, vit.attention_maps(images).sum(1))


@pytest.mark.parametrize('position', ['learnable', 'sincos', 'rotary'])
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


@pytest.mark.parametrize('position', ['learnable', 'sincos'])
@torch.no_grad()
def test_any_size_is_cut_to_whole_patches_where_the_authors_cut(position):
    vit = make_vit(position=position, position_rule='dino', remainder='cut')
    images = torch.randn(2, 3, 30, 43)
    tokens = vit.forward_tokens(images)
    assert vit.grid_of(images) == (3, 5) and vit(images)[0].shape[2:] == (3, 5)
    torch.testing.assert_close(tokens.patches, vit.forward_tokens(images[..., :24, :40]).patches)
    torch.testing.assert_close(vit.attention_maps(images), vit.attention_maps(images[..., :24, :40]))
    assert vit.grid_of(images[..., :5, :]) == (1, 5) and len(vit(images[..., :5, :])) == 1  # zeros complete a single patch


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


@pytest.mark.parametrize('num_queries', [0, 3])
@pytest.mark.parametrize('query_keys', ['image', 'image+queries'])
@pytest.mark.parametrize('which', ['some', 'cls'])
def test_tokens_that_nobody_reads_need_not_be_computed(which, query_keys, num_queries):
    """What is read, and the gradient of it, are those of the whole network; stochastic depth draws the same numbers."""
    vit = make_vit(drop_path_rate=0.5, num_registers=2, mask_token=True, query_keys=query_keys).double().train()
    images, queries = torch.randn(4, 3, 32, 40).double(), torch.randn(4, num_queries, 32).double() if num_queries else None

    def run(read: torch.Tensor | str | None) -> tuple[Tokens, list[torch.Tensor | None]]:
        torch.manual_seed(1)
        tokens = vit.forward_tokens(images, queries=queries, read=read)
        patches = tokens.patches.flatten(0, -2)
        patches = patches[:0] if which == 'cls' else patches if read is not None else patches[SOME_PATCHES]
        tokens = tokens._replace(patches=patches)
        return tokens, torch.autograd.grad(sum(t.square().sum() for t in tokens), list(vit.parameters()), allow_unused=True)

    actual, expected = run(torch.tensor(SOME_PATCHES) if which == 'some' else 'cls'), run(None)
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)
    assert actual[0].cls.shape == (4, 32) and actual[0].queries.shape == (4, num_queries, 32)


@torch.no_grad()
@pytest.mark.parametrize('options', [{}, dict(relative_position=True, position='none'), dict(pool='mean'), dict(class_token=False)])
def test_features_alone_are_the_features(options):
    vit, images = make_vit(**options).double(), torch.randn(2, 3, 40, 24).double()
    torch.testing.assert_close(vit.features_alone(images), vit.features(images), rtol=1e-10, atol=1e-10)


def test_a_mean_of_patches_reads_them_all():
    with pytest.raises(InputError, match='without a class token .*: read all'):
        make_vit(class_token=False).forward_tokens(torch.zeros(1, 3, 32, 32), read=torch.tensor([3]))


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


@pytest.mark.parametrize('position', ['learnable', 'sincos', 'rotary'])
@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16])
@torch.no_grad()
def test_model_of_another_precision_takes_images_of_any_size(position, dtype):
    vit = make_vit(position=position).to(dtype)
    assert vit.forward_tokens(torch.randn(1, 3, 48, 48, dtype=dtype)).cls.dtype == dtype


@pytest.mark.parametrize('settings, message', [
    (dict(arch='huge'), "arch='huge': give 'tiny', 'small', 'base', 'large' or a dict of whole numbers"),
    (dict(img_size=30), 'img_size 30 is not a multiple of patch_size 8'),
    (dict(position='cosine'), "position='cosine': give 'learnable', 'sincos', 'rotary' or 'none'"),
    (dict(relative_position=True, window_size=2), 'relative_position needs a class token, and neither registers nor window_size'),
    (dict(out_indices=(0, 3)), 'block 3 of out_indices or global_blocks is not among the 3 blocks'),
    (dict(out_indices=(0, 1), pyramid=True), 'a pyramid is made of 4 maps or of 1, out_indices has 2'),
    (dict(position='rotary', arch=dict(embed_dim=18, depth=1, num_heads=3)), 'heads whose width is a multiple of 4, got 6'),
    (dict(query_keys='all'), "query_keys='all': give 'image', 'patches', 'image.queries' or 'bidirectional'"),
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


@torch.no_grad()
def test_registers_equal_timms():
    ours = make_vit(num_registers=3, position_rule='antialias', out_indices=(0, -1))
    timms = timm.models.VisionTransformer(img_size=32, patch_size=8, **SIZES, reg_tokens=3, num_classes=0, no_embed_class=True,
                                          dynamic_img_size=True).eval()
    state = ours.state_dict()
    state['cls_token'] = state['cls_token'] + state['pos_embed'][:, :1]  # theirs has positions for patches only
    timms.load_state_dict({**state, 'pos_embed': state['pos_embed'][:, 1:]})
    images = torch.randn(2, 3, 40, 32)
    expected = timms.forward_features(images)
    tokens = ours.forward_tokens(images)
    torch.testing.assert_close(tokens.cls, expected[:, 0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(tokens.patches, expected[:, 4:], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours(images)[1].flatten(2).transpose(1, 2), tokens.patches)
    assert ours.attention_maps(images).shape == (2, 4, 5, 4)
    queries = queries_for(ours, 5)
    with_queries = ours.forward_tokens(images, queries=queries)
    assert with_queries.queries.shape == queries.shape
    torch.testing.assert_close(with_queries.patches, tokens.patches, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_relative_positions_equal_timms_beit():
    ours = make_vit(position='none', relative_position=True, layer_scale=0.1)
    timms = timm.models.Beit(img_size=32, patch_size=8, **SIZES, init_values=0.1, num_classes=0, use_abs_pos_emb=False,
                             use_rel_pos_bias=True).eval()
    state = {name.replace('ls1.gamma', 'gamma_1').replace('ls2.gamma', 'gamma_2').replace('norm.', 'fc_norm.')
             if name.startswith('norm.') or '.ls' in name else name: value for name, value in ours.state_dict().items()}
    for i in range(SIZES['depth']):
        bias = state.pop(f'blocks.{i}.attn.qkv.bias')
        ours.blocks[i].attn.qkv.bias[32:64] = 0  # BEiT's keys have none
        state[f'blocks.{i}.attn.q_bias'], state[f'blocks.{i}.attn.v_bias'] = bias[:32], bias[64:]
    timms.load_state_dict(state)
    images = torch.randn(2, 3, 32, 32)
    expected = ours.norm(timms.forward_features(images))
    tokens = ours.forward_tokens(images)
    torch.testing.assert_close(tokens.cls, expected[:, 0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(tokens.patches, expected[:, 1:], rtol=1e-4, atol=1e-5)
    assert ours(torch.randn(1, 3, 40, 24))[0].shape == (1, 32, 5, 3), 'another grid resizes the table'
    with pytest.raises(InputError, match='queries need positions of their own'):
        ours.forward_tokens(images, queries=queries_for(ours, 2))


@torch.no_grad()
def test_without_a_class_token_there_are_only_patches():
    vit = make_vit(class_token=False, final_norm=False)
    assert vit.pos_embed.shape == (1, 16, 32)
    images = torch.randn(2, 3, 32, 24)
    tokens = vit.forward_tokens(images)
    torch.testing.assert_close(tokens.cls, tokens.patches.mean(1))
    torch.testing.assert_close(vit(images)[0].flatten(2).transpose(1, 2), tokens.patches)
    with pytest.raises(InputError, match='this backbone has none'):
        vit.attention_maps(images)


@torch.no_grad()
def test_rotary_positions_turn_pairs_of_channels_patch_by_patch():
    """Written out for one block: row angles, then column angles, for both halves of a head; prefix tokens are not turned."""
    vit = make_vit(position='rotary', num_registers=2, arch=dict(SIZES, depth=1))
    images, (h, w) = torch.randn(1, 3, 40, 16), (5, 2)
    q, k, v = vit.blocks[0].attn.qkv(vit.blocks[0].norm1(vit.embed(images)))[0].double().view(-1, 3, 4, 8).unbind(1)
    for x in (q, k):
        for i in range(h * w):
            row, column = 2 * (i // w + .5) / h - 1, 2 * (i % w + .5) / w - 1
            for c, angle in enumerate([row, row / 10, column, column / 10]):  # periods 1 and 100^(1/2)
                angle = torch.tensor(2 * torch.pi * angle, dtype=torch.float64)
                first, second = x[3 + i, :, c].clone(), x[3 + i, :, c + 4].clone()
                x[3 + i, :, c] = first * angle.cos() - second * angle.sin()
                x[3 + i, :, c + 4] = second * angle.cos() + first * angle.sin()
    weights = (torch.einsum('qhc,khc->hqk', q, k) / 8**.5).softmax(-1)
    torch.testing.assert_close(vit.attention_maps(images)[0].flatten(1), weights[:, 0, 3:].float(), rtol=1e-4, atol=1e-6)
    attended = torch.einsum('hqk,khc->qhc', weights, v).flatten(1).float()
    sees = vit.blocks[0].attn.proj(attended)
    x = vit.embed(images)[0] + sees
    expected = vit.norm(x + vit.blocks[0].mlp(vit.blocks[0].norm2(x)))
    torch.testing.assert_close(vit.forward_tokens(images).patches[0], expected[3:], rtol=1e-4, atol=1e-4)
    with pytest.raises(InputError, match="queries need positions of their own, and position='rotary' has none"):
        vit.forward_tokens(images, queries=queries_for(vit, 2))


@torch.no_grad()
def test_patches_that_are_left_keep_their_rotary_positions():
    """In any order of the sequence, a patch computes the same."""
    vit, images = make_vit(position='rotary'), torch.randn(2, 3, 32, 32)
    everything = torch.stack([torch.randperm(16), torch.randperm(16)])
    tokens = vit.forward_tokens(images, keep=everything)
    expected = vit.forward_tokens(images).patches.take_along_dim(everything[..., None], 1)
    torch.testing.assert_close(tokens.patches, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_bias_of_keys_plays_no_part_where_there_is_none():
    vit, images = make_vit(position='rotary', key_bias=False, mask_token=True), torch.randn(2, 3, 32, 32)

    def computed() -> list[torch.Tensor]:
        return [vit.forward_tokens(images).patches, vit.attention_maps(images), vit.intermediates(images, [1], 'key')[0][1]]

    before = computed()
    for block in vit.blocks:
        block.attn.qkv.bias[32:64] += 1
    assert all(torch.equal(old, new) for old, new in zip(before, computed()))
    vit.blocks[0].attn.qkv.bias[:32] += 1
    assert not torch.equal(before[0], computed()[0])


@pytest.mark.parametrize('registers, position', [(0, 'learnable'), (2, 'learnable'), (2, 'rotary')])
@torch.no_grad()
def test_windows(registers, position):
    """One window over everything is global attention; a patch reads its window and, by CLS alone, the others."""
    images = torch.randn(2, 3, 40, 32)
    vit = make_vit(num_registers=registers, position=position, out_indices=(0, ))
    globally = vit(images)[0]
    vit.window_size = 8  # 5 x 4 patches lie in one window, the rest of which is empty
    torch.testing.assert_close(vit(images)[0], globally, rtol=1e-4, atol=1e-5)
    vit.window_size = 2
    windowed = vit(images)[0]
    assert not torch.allclose(windowed, globally, atol=1e-2)
    changed = images.clone()
    changed[:, :, 16:32, 16:] += 1  # the window of rows 2, 3 and columns 2, 3
    same = (vit(changed)[0] == windowed).all(1)
    expected = torch.ones(2, 5, 4, dtype=torch.bool)
    expected[:, 2:4, 2:] = False
    assert torch.equal(same, expected)
    vit.global_blocks = {0}
    torch.testing.assert_close(vit(images)[0], globally)


def test_checkpointing_changes_memory_and_not_gradients():
    vit = make_vit(drop_path_rate=0.5, out_indices=(0, 2)).train()
    images = torch.randn(4, 3, 32, 32)
    gradients = []
    for checkpointing in (False, True):
        vit.checkpointing = checkpointing
        torch.manual_seed(5)
        vit.zero_grad()
        sum(m.square().sum() for m in vit(images)).backward()
        gradients.append({name: p.grad.clone() for name, p in vit.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


@pytest.mark.parametrize('patch_size, size', [(16, (64, 96)), (8, (64, 32)), (32, (64, 96)), (16, (96, 160)), (14, (96, 160)),
                                              (7, (64, 96)), (10, (64, 32))])
@torch.no_grad()
def test_pyramid_has_strides_4_8_16_32(patch_size, size):
    vit = VisionTransformer(dict(SIZES, depth=4), patch_size, 4 * patch_size, out_indices=range(4), pyramid=True)
    assert [tuple(m.shape[1:]) for m in vit(torch.randn(1, 3, *size))] == [
        (32, size[0] // stride, size[1] // stride) for stride in (4, 8, 16, 32)]


def test_a_map_of_patches_of_14_pixels_stays_above_the_image():
    """A ramp over the pixels of the image is the same ramp in all strides, but for the borders, where bilinear resizing is flat."""
    pyramid, size = FeaturePyramid(1, 14), (96, 130)
    columns = (torch.arange(10) + .5) * 14
    maps = pyramid([columns.expand(1, 1, 7, 10)] * 4, size)
    assert maps[2].shape == (1, 1, 6, 9)
    torch.testing.assert_close(maps[2][0, 0, 0, 1:8], (torch.arange(1, 8) + .5) * 16)
    assert FeaturePyramid(1, 14)([torch.rand(1, 1, 7, 7)], (97, 98))[2].shape == (1, 1, 7, 7)


def test_what_the_maps_do_not_need_is_not_trained():
    vit = make_vit(out_indices=(0, 1), out_norm=False)
    sum(m.sum() for m in vit(torch.randn(1, 3, 32, 32))).backward()
    without = {name for name, p in vit.named_parameters() if p.grad is None}
    assert without == {name for name, p in vit.named_parameters() if not p.requires_grad}
    assert without == {name for name, _ in vit.named_parameters() if name.startswith(('norm.', 'blocks.2.'))}


def test_a_frozen_backbone_trains_its_pyramid_alone():
    vit = VisionTransformer(dict(SIZES, depth=4), 16, 64, drop_path_rate=0.5, out_indices=range(4), pyramid=True, frozen=True)
    vit.train()
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(vit(images)[2], vit(images)[2]), 'no stochastic depth'
    assert vit.pyramid.training and not vit.blocks.training
    assert {name.split('.')[0] for name, p in vit.named_parameters() if p.requires_grad} == {'pyramid'}


@pytest.mark.parametrize('class_token', [True, False])
def test_features_and_the_map_of_patches_of_one_forward(class_token):
    backbone = make_vit(class_token=class_token)
    images = torch.randn(2, 3, 24, 40)
    features, maps = backbone.features_and_map(images)
    assert torch.equal(features, backbone.features(images)) and maps.shape == (2, backbone.map_dim, 3, 5)
    assert torch.equal(maps.flatten(2).transpose(1, 2), backbone.forward_tokens(images).patches)
