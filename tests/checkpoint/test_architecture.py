"""What a file says of its network is compared with its tensors before anything is built."""
from __future__ import annotations

import json

import pytest
import torch
from mmengine.model import BaseModule
from plain import DEPTH, DIM, resnet_weights, vit_weights
from safetensors.torch import save_file
from torch import nn

from mmdssl.checkpoint import backbone_config, convert_checkpoint, load_backbone, read_pretrained, save_backbone
from mmdssl.checkpoint.config_data import config_to_json
from mmdssl.errors import InputError
from mmdssl.models.backbones import VisionTransformer
from mmdssl.registry import MODELS

ARCH = dict(embed_dim=16, depth=2, num_heads=2)


@pytest.fixture
def nothing_is_built(monkeypatch):
    def build(*_, **__):
        raise AssertionError('a network was built')
    monkeypatch.setattr(VisionTransformer, '__init__', build)


@pytest.mark.parametrize('change, words', [
    (dict(arch=dict(ARCH, depth=10**6)), 'depth is 1000000 there'),
    (dict(arch=dict(ARCH, depth=10**7)), 'depth is 10000000 there'),
    (dict(arch=dict(ARCH, num_heads=0)), 'arch=.* at least 1'),
    (dict(arch=dict(ARCH, num_heads=-2)), 'arch=.* at least 1'),
    (dict(arch=dict(ARCH, num_heads=3)), 'num_heads=3'),
    (dict(arch=dict(ARCH, num_heads='two')), 'arch='),
    (dict(arch=dict(ARCH, embed_dim=32)), 'embed_dim is 32 there'),
    (dict(arch=dict(embed_dim=16)), 'arch='),
    (dict(arch='gigantic'), "arch='gigantic'"),
    (dict(arch=None), 'arch=None'),
    (dict(patch_size=0), 'patch_size=0'),
    (dict(patch_size='eight'), "patch_size='eight'"),
    (dict(patch_size=4), 'patch_size is 4 there'),
    (dict(img_size=10**12), 'img_size=1000000000000'),
    (dict(img_size=64), 'img_size is 64 there'),
    (dict(mlp_ratio=float('nan')), 'mlp_ratio=nan'),
    (dict(mlp_ratio=2.), 'mlp_ratio is 2.0 there'),
    (dict(position='somewhere'), "position='somewhere'"),
    (dict(position='sincos', position_rule=[]), r'position_rule=\[\]'),
    (dict(num_registers=4), 'num_registers is 4 there'),
    (dict(class_token=False), 'class_token is False there'),
    (dict(layer_scale=1e-5), 'layer_scale is 1e-05 there'),
    (dict(final_norm='yes'), "final_norm='yes'"),
    (dict(query_keys='everything'), "query_keys='everything'"),
])
def test_a_config_that_its_tensors_contradict_is_refused(change, words, tiny_backbone, tmp_path, request):
    path = tmp_path / 'b.safetensors'
    save_backbone(MODELS.build(tiny_backbone), path, {**tiny_backbone, **change})
    request.getfixturevalue('nothing_is_built')
    for read in (backbone_config, load_backbone, lambda path: convert_checkpoint(path, tmp_path / 'c.pth', 'timm')):
        with pytest.raises(InputError, match=rf'b\.safetensors .*{words}'):
            read(path)


RESNET = dict(type='TimmBackbone', name='resnet10t', model_args=dict(channels=[8, 8, 8, 8], stem_width=8))


@pytest.mark.parametrize('change, words', [
    (dict(name='resnet999'), "no network 'resnet999'"),
    (dict(name='resnet18'), 'does not fit'),
    (dict(model_args=dict(channels=[10**6] * 4)), 'does not fit'),
    (dict(model_args=dict(channels=[10**9] * 4)), '1000000000, of which no network'),
    (dict(model_args=dict(layers=[10**6, 1, 1, 1])), 'far more than its .* tensors'),
    (dict(model_args=dict(channels=[float('inf')] * 4)), 'inf, of which no network'),
    (dict(model_args=3), 'model_args=3: give a dict'),
    (dict(model_args=dict(norm_layer=dict(type='os.system'))), "names 'os.system', and nothing but"),
    (dict(model_args=dict(norm_layer=dict(init_cfg=dict(type='Pretrained')))), "names {'type': 'Pretrained'}, and nothing but"),
    (dict(model_args=dict(checkpoint_path='x.pth')), 'cannot have checkpoint_path'),
    (dict(model_args=dict(norm_layer=dict(type='torch.hub.load', init_cfg='Abc'))), "names 'Abc', and nothing but"),
    (dict(model_args=dict(norm_layer=dict(type='torch.hub.load', init_cfg=None))), "names 'torch.hub.load', and nothing but"),
])
def test_a_config_of_timm_is_drawn_before_memory_is_taken(change, words, tmp_path):
    save_backbone(MODELS.build(RESNET), tmp_path / 'b.safetensors', {**RESNET, **change})
    with pytest.raises(InputError, match=words):
        read_pretrained(tmp_path / 'b.safetensors')


def test_integers_for_weights_of_timm_are_refused_and_its_counts_are_not(tmp_path):
    backbone = MODELS.build(RESNET)
    save_backbone(backbone, tmp_path / 'b.safetensors', RESNET)
    assert load_backbone(tmp_path / 'b.safetensors').network.bn1.num_batches_tracked.dtype == torch.int64
    state = {name: tensor.long() if name == 'network.bn1.weight' else tensor for name, tensor in backbone.state_dict().items()}
    save_file(state, tmp_path / 'b.safetensors', dict(config=json.dumps(RESNET)))
    with pytest.raises(InputError, match=r'bn1\.weight is of the type int64'):
        read_pretrained(tmp_path / 'b.safetensors')


@pytest.mark.parametrize('name, change', [
    ('patch_embed.proj.weight', lambda tensor: tensor.flatten(1)), ('patch_embed.proj.weight', lambda tensor: tensor[:0]),
    ('cls_token', lambda tensor: tensor[0]), ('cls_token', lambda tensor: tensor[..., :-1]), ('pos_embed', lambda tensor: tensor[0]),
    ('pos_embed', lambda tensor: tensor.mT), ('blocks.0.mlp.fc1.weight', lambda tensor: tensor.mT.contiguous()),
    ('blocks.1.norm1.weight', lambda tensor: tensor[:0]), ('pos_embed', lambda tensor: tensor.expand(2, -1, -1).clone())])
def test_tensors_of_impossible_shapes_are_named(name, change, tmp_path):
    weights = vit_weights()
    torch.save({**weights, name: change(weights[name])}, tmp_path / 'model.pth')
    with pytest.raises(InputError, match=rf'no vision transformer that can be used: {name} is of shape'):
        read_pretrained(tmp_path / 'model.pth')


@pytest.mark.parametrize('lacking', ['blocks.1.mlp.fc2.bias', 'blocks.0.attn.qkv.weight', 'norm.bias'])
def test_what_is_not_complete_is_not_converted(lacking, tmp_path):
    torch.save({name: tensor for name, tensor in vit_weights().items() if name != lacking}, tmp_path / 'vit.pth')
    for form in ('mmdssl', 'timm', 'huggingface'):
        with pytest.raises(InputError, match=rf'does not fit: 1 tensors are missing \({lacking}\)'):
            convert_checkpoint(tmp_path / 'vit.pth', tmp_path / 'model.safetensors', form)
    torch.save({name: tensor for name, tensor in resnet_weights().items() if name != 'layer3.2.bn1.bias'}, tmp_path / 'resnet.pth')
    with pytest.raises(InputError, match=r'no whole ResNet-50: 1 tensors are missing \(layer3\.2\.bn1\.bias\)'):
        convert_checkpoint(tmp_path / 'resnet.pth', tmp_path / 'model.safetensors', 'timm')
    assert not (tmp_path / 'model.safetensors').exists()


class Normed(BaseModule):

    def __init__(self, norm_cfg: dict):
        super().__init__()
        self.norm = nn.BatchNorm2d(norm_cfg['channels'])


def test_a_layer_that_mmengine_knows_may_be_named_inside_a_network(tmp_path):
    MODELS.register_module(module=Normed, force=True)
    try:
        config = dict(type='Normed', norm_cfg=dict(type='BN', channels=3))
        save_backbone(MODELS.build(config), tmp_path / 'b.safetensors', config)
        assert load_backbone(tmp_path / 'b.safetensors').norm.num_features == 3
        config['norm_cfg']['type'] = 'subprocess.Popen'
        save_backbone(MODELS.build(config), tmp_path / 'b.safetensors', config)
        with pytest.raises(InputError, match=r"names 'subprocess\.Popen', and nothing but"):
            load_backbone(tmp_path / 'b.safetensors')
    finally:
        MODELS.module_dict.pop('Normed')


def test_missing_blocks_are_counted_before_any_is_built(tmp_path):
    weights = vit_weights()
    torch.save({**weights, 'blocks.999999.norm1.weight': weights['norm.weight']}, tmp_path / 'model.pth')
    with pytest.raises(InputError, match=rf'has {DEPTH + 1} blocks up to number 999999, and number {DEPTH} is missing'):
        backbone_config(tmp_path / 'model.pth')


def test_a_checkpoint_that_contains_itself_has_an_end(tmp_path):
    content = dict(state_dict=vit_weights())
    content['again'] = content
    torch.save(content, tmp_path / 'model.pth')
    with pytest.raises(InputError, match='several networks'):
        read_pretrained(tmp_path / 'model.pth')


@pytest.mark.parametrize('heads', [0, -1, 5, 'three', 2.5, 10**9])
def test_heads_of_a_config_beside_a_file_must_divide_its_width(heads, tmp_path):
    torch.save(vit_weights(), tmp_path / 'vit.pth')
    convert_checkpoint(tmp_path / 'vit.pth', tmp_path / 'model.pth', 'huggingface')
    (tmp_path / 'config.json').write_text(json.dumps(dict(hidden_size=DIM, num_attention_heads=heads)))
    with pytest.raises(InputError, match='num_attention_heads=.*cannot be cut'):
        read_pretrained(tmp_path / 'model.pth')


def test_a_run_may_call_its_network_as_it_likes(tmp_path):
    network = dict(type='VisionTransformer', arch=dict(embed_dim=64, depth=1, num_heads=4), patch_size=8, img_size=32)
    state = {f'encoder.{name}': tensor for name, tensor in MODELS.build(network).state_dict().items()}
    model = dict(type='TheirMethod', encoder=network, head=dict(type='DINOHead'))
    torch.save(dict(meta=dict(cfg=config_to_json(dict(model=model))), state_dict=state), tmp_path / 'epoch_1.pth')
    assert backbone_config(tmp_path / 'epoch_1.pth')['arch']['num_heads'] == 4  # of 64 wide heads there would be one


@pytest.mark.parametrize('place', ['config', 'method', 'type', 'inside', 'name'])
def test_text_in_a_safetensors_header_is_not_run(tmp_path, place):
    """Each text of the header is a program that would leave a file behind."""
    marker = tmp_path / 'marker'
    program = f"__import__('pathlib').Path({str(marker)!r}).touch()"
    backbone = MODELS.build(RESNET)
    config = dict(RESNET, **{
        'type': dict(type=program), 'inside': dict(model_args=dict(norm_layer=dict(type='builtins.eval', source=program))),
        'name': dict(name=program)}.get(place, {}))
    metadata = dict(config=program if place == 'config' else json.dumps(config), method=program, epoch=program, mmdssl=program)
    save_file(backbone.state_dict(), tmp_path / 'b.safetensors', metadata)
    if place == 'method':
        load_backbone(tmp_path / 'b.safetensors')
    else:
        with pytest.raises(InputError):
            load_backbone(tmp_path / 'b.safetensors')
    assert not marker.exists()
