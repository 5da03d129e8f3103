"""Networks of timm against timm's own features and maps, and against attention that is computed here."""
from __future__ import annotations

import pytest
import timm
import torch
from timm.layers import DropPath
from torch import nn

from mmdssl.errors import InputError
from mmdssl.models.backbones import TimmBackbone
from mmdssl.models.backbones.timm_backbone import caformer

# Name, arguments that make it small, patch size, strides of all maps.
NETWORKS = {
    'resnet': ('resnet18', dict(layers=(1, 1, 1, 1), channels=(8, 16, 24, 32)), None, (2, 4, 8, 16, 32)),
    'caformer': ('caformer_s18', {}, None, (4, 8, 16, 32)),
    'convnext': ('convnext_atto', {}, None, (4, 8, 16, 32)),
    'vit': ('vit_tiny_patch16_224', dict(img_size=64, depth=3), 16, (16, 16, 16)),
    'swin': ('swin_tiny_patch4_window7_224', dict(img_size=64, embed_dim=24, depths=(1, 1, 2, 1), window_size=2), 4,
             (4, 8, 16, 32)),
}


@pytest.fixture(scope='module', params=NETWORKS.values(), ids=list(NETWORKS))
def case(request):
    """A backbone that returns all maps, in eval mode, its name, arguments and strides."""
    name, args, _, strides = request.param
    torch.manual_seed(0)
    backbone = TimmBackbone(name, args, out_indices=range(len(strides))).eval()
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return backbone, name, args, strides


def renamed(state: dict, prefix: str = '') -> dict:
    return {name.removeprefix(prefix).replace('.', '_'): value for name, value in state.items()}


def test_features_are_those_in_front_of_timms_classifier(case):
    backbone, name, args, _ = case
    reference = timm.create_model(name, num_classes=0, **args).eval()
    reference.load_state_dict(backbone.network.state_dict())
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(backbone.features(images), reference(images), rtol=1e-4, atol=1e-5)
    assert backbone.features(images).shape == (2, backbone.embed_dim)


def test_maps_are_timms(case):
    backbone, name, args, strides = case
    reference = timm.create_model(name, features_only=True, out_indices=tuple(range(len(strides))), **args).eval()
    ours = renamed(backbone.network.state_dict())
    theirs = renamed(reference.state_dict(), 'model.')
    reference.load_state_dict({name: ours[key] for name, key in zip(reference.state_dict(), theirs)})
    images = torch.randn(2, 3, 64, 64)
    maps = backbone(images)
    for found, expected in zip(maps, reference(images), strict=True):
        expected = expected.permute(0, 3, 1, 2) if expected.shape[1] != found.shape[1] else expected
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert backbone.channels == tuple(found.shape[1] for found in maps)
    assert backbone.strides == strides == tuple(64 // found.shape[2] for found in maps)


@pytest.mark.parametrize('height, width', [(32, 32), (96, 64), (76, 52)])
def test_images_of_any_size(case, height, width):
    backbone, *_, strides = case
    images = torch.randn(2, 3, height, width)
    features = backbone.features(images)
    assert features.shape == (2, backbone.embed_dim) and features.isfinite().all()
    last = backbone(images)[-1]
    if height % strides[-1] == 0:
        assert last.shape[-2:] == (height // strides[-1], width // strides[-1])
    assert backbone.heat_map(images).shape == (2, *last.shape[-2:])


@pytest.mark.parametrize('network', ['resnet', 'vit', 'swin'])
@pytest.mark.parametrize('out_indices', [None, (0, 1), (-2, )])
def test_what_is_not_used_is_not_trained(network, out_indices):
    """Plain DistributedDataParallel waits for a gradient of every trained parameter."""
    name, args, *_ = NETWORKS[network]
    backbone = TimmBackbone(name, args, out_indices=out_indices)
    trained = {name for name, parameter in backbone.named_parameters() if parameter.requires_grad}
    backbone.requires_grad_(True)
    images = torch.randn(2, 3, 64, 64)
    sum(x.sum() for x in (backbone(images) if out_indices else [backbone.features(images)])).backward()
    assert trained == {name for name, parameter in backbone.named_parameters() if parameter.grad is not None}
    assert (len(trained) == len(list(backbone.parameters()))) == (out_indices is None)


@pytest.mark.parametrize('network, patch_size', [(name, patch) for name, (*_, patch, _) in NETWORKS.items() if name != 'caformer'])
def test_a_patch_size_only_where_there_are_patches(network, patch_size):
    name, args, *_ = NETWORKS[network]
    assert getattr(TimmBackbone(name, args), 'patch_size', None) == patch_size


@pytest.mark.parametrize('name', ['pvt_v2_b0', 'vit_tiny_r_s16_p8_224'])
def test_no_patch_size_where_patches_overlap_or_are_of_other_maps(name):
    assert not hasattr(TimmBackbone(name), 'patch_size')


def test_heat_map_of_caformer_is_its_attention():
    """Averaged over queries, summed over the heads of the last block; timm's own weights, caught where it would drop some out."""
    backbone = TimmBackbone('caformer', dict(depths=(1, 1, 1, 2), dims=(8, 16, 32, 64))).eval()
    for parameter in backbone.parameters():
        nn.init.normal_(parameter, std=0.3)
    images = torch.randn(3, 3, 96, 64)
    found = backbone.heat_map(images)
    weights = attention_of(backbone.network.stages[3].blocks[1].token_mixer, backbone, images)
    assert weights.shape == (3, 2, 6, 6)
    expected = torch.stack([sum(weights[i, head].mean(0) for head in range(2)).view(3, 2) for i in range(3)])
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found.sum((1, 2)), torch.full((3, ), 2.))


@pytest.mark.parametrize('args', [{}, dict(qk_norm=True, reg_tokens=2), dict(class_token=False, global_pool='avg')])
def test_heat_map_of_a_vit_is_the_attention_of_its_class_token(args):
    backbone = TimmBackbone('vit_tiny_patch16_224', dict(img_size=64, depth=2, **args)).eval()
    images = torch.randn(2, 3, 32, 64)
    weights = attention_of(backbone.network.blocks[1].attn, backbone, images)
    num_prefix = weights.shape[-1] - 8
    looks = weights[:, :, 0] if 'class_token' not in args else weights.mean(2)
    torch.testing.assert_close(backbone.heat_map(images), looks[..., num_prefix:].sum(1).view(2, 2, 4))


def test_heat_map_of_compiled_blocks():
    """Compiled code calls no hook that came later."""
    backbone = TimmBackbone('vit_tiny_patch16_224', dict(img_size=64, depth=2)).eval()
    images = torch.randn(2, 3, 64, 64)
    expected = backbone.heat_map(images)
    for block in backbone.network.blocks:
        block.compile(backend='eager')
    backbone.features(images)
    torch.testing.assert_close(backbone.heat_map(images), expected)


def attention_of(module: nn.Module, backbone: TimmBackbone, images: torch.Tensor) -> torch.Tensor:
    caught = []
    hook = module.attn_drop.register_forward_hook(lambda _, args, output: caught.append(args[0]))
    module.fused_attn = False
    backbone.features(images)
    hook.remove()
    module.fused_attn = True
    return caught[0].detach()


def test_heat_map_of_a_convolutional_network_is_the_sum_of_its_last_map():
    name, args, *_ = NETWORKS['resnet']
    backbone = TimmBackbone(name, args).eval()
    images = torch.randn(2, 3, 64, 96)
    torch.testing.assert_close(backbone.heat_map(images), backbone.network.forward_features(images).sum(1))


@pytest.mark.parametrize('stride, strides', [(None, (2, 4, 8, 16, 32)), (4, (2, 4, 8, 16, 32)), (2, (2, 2, 4, 8, 16)),
                                             (1, (1, 1, 2, 4, 8))])
def test_a_stem_for_small_images(stride, strides):
    name, args, *_ = NETWORKS['resnet']
    backbone = TimmBackbone(name, args, stem_stride=stride, out_indices=range(5))
    assert backbone.strides == strides
    with pytest.raises(InputError, match='it is for a ResNet'):
        TimmBackbone('convnext_atto', stem_stride=2)


def test_caformer_is_timms():
    with torch.device('meta'):
        theirs, ours = timm.create_model('caformer_m36', num_classes=0), caformer(num_classes=0)
    assert {name: value.shape for name, value in ours.state_dict().items()} == {
        name: value.shape for name, value in theirs.state_dict().items()}
    assert str(ours) == str(theirs)


def test_drop_path_and_frozen():
    name, args, *_ = NETWORKS['convnext']
    rates = [module.drop_prob for module in TimmBackbone(name, args, drop_path_rate=0.3).modules() if isinstance(module, DropPath)]
    assert max(rates) == pytest.approx(0.3) and len(set(rates)) == len(rates)
    backbone = TimmBackbone(name, args, frozen=True).train()
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert not any(module.training for module in backbone.modules())


@pytest.mark.parametrize('network', ['vit', 'resnet'])
def test_mmengines_init_does_not_touch_the_weights(network):
    """timm's networks have an ``init_weights`` of their own, which would undo what was loaded."""
    name, args, *_ = NETWORKS[network]
    backbone = TimmBackbone(name, args)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    backbone.init_weights()
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


@pytest.mark.parametrize('arguments, message', [
    (dict(name='resnet_50'), "has no network 'resnet_50': did you mean .*resnet50"),
    (dict(name='caforme'), 'did you mean caformer'),
    (dict(name='hf-hub:timm/resnet18'), 'has no network'),
    (dict(name='?'), 'timm.list_models'),
    (dict(name='resnet18', model_args=dict(widths=4)), "resnet18 cannot be built with {'widths': 4}: .*widths"),
    (dict(name='resnet18', model_args=dict(pretrained=True)), 'cannot have pretrained: nothing is downloaded .*init_cfg'),
    (dict(name='resnet18', model_args=dict(in_chans=1, num_classes=10)), 'cannot have in_chans, num_classes: .*three channels'),
    (dict(name='vit_tiny_patch16_224', model_args=dict(embed_dim=25)), "cannot be built with {'embed_dim': 25}: .+"),
    (dict(name=50), 'name=50: give a text'),
    (dict(name='resnet18', out_indices=3), 'out_indices=3: give a list of whole numbers that is not empty'),
    (dict(name='resnet18', out_indices=('a', )), 'give a list of whole numbers'),
    (dict(name='resnet18', out_indices=(1, -4)), 'names a feature map twice'),
    (dict(name='caformer', model_args=dict(token_mixers=1)), 'caformer cannot be built with .*token_mixers'),
    (dict(name='resnet18', out_indices=(1, 5)), r'resnet18 has 5 feature maps, and out_indices=\(1, 5\) does not list'),
    (dict(name='resnet18', stem_stride=3), 'give 1, 2, 4 or None'),
])
def test_what_timm_does_not_have_is_named(arguments, message):
    with pytest.raises(InputError, match=message):
        TimmBackbone(**arguments)


def test_a_network_of_one_size_says_so():
    backbone = TimmBackbone('convit_tiny', dict(depth=1, img_size=64))
    assert backbone.features(torch.randn(1, 3, 64, 64)).shape == (1, backbone.embed_dim)
    with pytest.raises(InputError, match='convit_tiny cannot take images of 32 x 48 px'):
        backbone.features(torch.randn(1, 3, 32, 48))


def test_a_network_without_maps_can_only_be_pretrained(monkeypatch):
    name, args, *_ = NETWORKS['resnet']
    monkeypatch.delattr(timm.models.ResNet, 'forward_intermediates')
    backbone = TimmBackbone(name, args)
    assert backbone.features(torch.randn(2, 3, 32, 32)).shape == (2, 32)
    for call in (backbone, backbone.heat_map):
        with pytest.raises(InputError, match='has no feature maps: it can be pretrained'):
            call(torch.randn(2, 3, 32, 32))
    with pytest.raises(InputError, match='has 0 feature maps'):
        TimmBackbone(name, args, out_indices=(1, ))


@pytest.mark.parametrize('name, args, size', [
    ('resnet18', dict(layers=(1, 1, 1, 1), channels=(8, 8, 8, 16)), (64, 96)), ('mobilenetv3_small_050', {}, (64, 64)),
    ('caformer', dict(depths=(1, 1, 1, 1), dims=(8, 8, 32, 32)), (64, 96)), ('vit_tiny_patch16_224', dict(depth=1), (64, 96))])
def test_features_and_the_last_map_of_one_forward(name, args, size):
    """They are those of two; both together train all that the features train."""
    backbone = TimmBackbone(name, args).eval()
    images = torch.randn(2, 3, *size)
    features, maps = backbone.features_and_map(images)
    assert torch.equal(features, backbone.features(images)) and torch.equal(maps, backbone(images)[-1])
    assert features.shape[1] == backbone.embed_dim and maps.shape[1] == backbone.map_dim
    (features.sum() + maps.square().sum()).backward()
    assert all((p.grad is not None) == p.requires_grad for p in backbone.parameters())


def test_stem_for_images_as_small_as_cifars():
    backbone = TimmBackbone('resnet18', dict(layers=(1, 1, 1, 1), channels=(8, 8, 8, 8)), stem_stride=1, stem_kernel=3)
    conv = backbone.network.conv1
    assert (conv.kernel_size, conv.stride, conv.padding) == ((3, 3), (1, 1), (1, 1)) and conv.weight.std() > 0.03
    assert backbone(torch.randn(1, 3, 32, 32))[0].shape == (1, 8, 4, 4)
    with pytest.raises(InputError, match='stem_kernel=4 of resnet18: it is odd'):
        TimmBackbone('resnet18', stem_kernel=4)


def test_branches_are_last_stages_side_by_side():
    args = dict(layers=(1, 1, 1, 1), channels=(8, 8, 8, 8))
    backbone = TimmBackbone('resnet18', args, branches=3, out_indices=(3, 4)).eval()
    images = torch.randn(2, 3, 64, 64)
    third, last = backbone(images)
    assert backbone.embed_dim == 24 and backbone.channels == (8, 24) and backbone.strides == (16, 32)
    torch.testing.assert_close(backbone.features(images), last.mean((2, 3)))
    features, maps = backbone.features_and_map(images)
    assert torch.equal(maps, last) and torch.equal(features, backbone.features(images)) and backbone.map_dim == maps.shape[1] == 24
    branches = backbone.network.layer4
    for branch, share in zip(branches, last.chunk(3, 1)):
        torch.testing.assert_close(branch(third), share)
    assert not torch.equal(branches[0][0].conv1.weight, branches[1][0].conv1.weight)  # random ones of their own
    with pytest.raises(InputError, match='branches=2 of caformer_s18: it is 1 or more, and the network a ResNet'):
        TimmBackbone('caformer_s18', branches=2)
    with pytest.raises(InputError, match='branches=0: give a whole number of at least 1'):
        TimmBackbone('resnet18', branches=0)
