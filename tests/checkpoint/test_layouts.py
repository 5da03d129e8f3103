"""Each published layout loads completely and computes what its own network computes."""
from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path

import pytest
import timm
import torch
from plain import DIM, GRID, PATCH, fixed_table, plain_resnet, plain_vit, resnet_weights, vit_weights
from releases import RELEASES, behind, dino, dino_bare, mmdssl_run, mocov3
from safetensors.torch import save_file
from torch import Tensor

import mmdssl  # noqa: F401  before mmdet, which needs its stand-in for mmcv's compiled operators
from mmdssl.checkpoint import backbone_config, convert_checkpoint, load_backbone, load_pretrained, read_pretrained
from mmdssl.checkpoint.networks import flatten
from mmdssl.errors import InputError

os.environ['HF_HUB_OFFLINE'] = '1'

SIZES = [(GRID * PATCH, GRID * PATCH), (GRID * PATCH + 2 * PATCH, GRID * PATCH + 4 * PATCH)]


def images(size: tuple[int, int] = SIZES[0]) -> Tensor:
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(3))


def loaded(path: Path, **kwargs):
    """The backbone of a file, after a check that all of it was loaded."""
    backbone = load_backbone(path, **kwargs)
    report = load_pretrained(backbone, path, **kwargs)
    assert not report.missing and not report.unexpected
    assert set(report.matched) | set(report.resized) == set(backbone.state_dict())
    return backbone


@pytest.mark.parametrize('release', RELEASES)
def test_a_release_computes_what_its_network_computes(release, tmp_path):
    made = release()
    torch.save(made.content, tmp_path / 'file.pth')
    backbone, pretrained = loaded(tmp_path / 'file.pth'), read_pretrained(tmp_path / 'file.pth')
    assert pretrained.layout == made.layout
    report = load_pretrained(backbone, pretrained)
    taken = {name.removeprefix(report.prefix) for name in flatten(made.content).keys() - report.ignored.keys()}
    masks = {'mask_token', 'masked_embed'}
    assert len(taken - masks) == len(made.weights.keys() - masks), 'a tensor of the file is neither loaded nor ignored'
    positions = dict(pos_embed=fixed_table(DIM, GRID, 'mae')) if release is mmdssl_run else {}
    for size in SIZES:
        if size != SIZES[0] and (made.layout == 'beit' or backbone.position != 'learnable'):
            continue  # their networks are defined for one size
        expected = plain_vit({**positions, **made.weights}, images(size), made.heads, made.rule)
        torch.testing.assert_close(backbone.forward_tokens(images(size)).patches, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('release', RELEASES)
@pytest.mark.parametrize('change', ['lacks a tensor', 'has one more', 'has another shape'])
def test_a_damaged_release_is_refused(release, change, tmp_path):
    content = release().content
    backbone = _save_and_build(content, tmp_path)
    pretrained = read_pretrained(tmp_path / 'file.pth')
    name = 'blocks.1.mlp.fc2.weight'
    before = backbone.state_dict()[name].clone()
    if change == 'lacks a tensor':
        del pretrained.state[name]
    elif change == 'has one more':
        pretrained.state['blocks.1.extra.weight'] = torch.ones(1)
    else:
        pretrained.state[name] = pretrained.state[name][:, 1:]
    pretrained.state['blocks.0.mlp.fc2.weight'] = pretrained.state['blocks.0.mlp.fc2.weight'] + 1
    message = {'lacks a tensor': r'are missing \(blocks.1.mlp.fc2.weight\)',
               'has one more': r'are unexpected \(blocks.1.extra.weight\)',
               'has another shape': r'have another shape \(blocks.1.mlp.fc2.weight'}[change]
    with pytest.raises(InputError, match=message):
        load_pretrained(backbone, pretrained)
    assert torch.equal(backbone.state_dict()[name], before), 'a refused file must not change the backbone'


def _save_and_build(content: dict, folder: Path):
    torch.save(content, folder / 'file.pth')
    return load_backbone(folder / 'file.pth')


@pytest.mark.parametrize('prefix', ['', 'module.', 'backbone.', 'encoder.', 'module.backbone.', 'module._orig_mod.'])
@pytest.mark.parametrize('nest', [None, 'state_dict', 'model', 'target'])
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_wrappers_and_nesting_and_formats(prefix, nest, suffix, tmp_path):
    weights, path = behind(prefix, dict(vit_weights(), masked_embed=torch.ones(1, DIM))), tmp_path / f'file{suffix}'
    if suffix == '.pth':
        torch.save({nest: weights, 'epoch': 3} if nest else weights, path)
    else:
        save_file(behind(f'{nest}.', weights) if nest else weights, path)
    expected = plain_vit(vit_weights(), images(), 3, 'dino')
    torch.testing.assert_close(loaded(path).forward_tokens(images()).patches, expected, rtol=1e-4, atol=1e-4)


def test_either_network_of_a_pair(tmp_path):
    torch.save(dino().content, tmp_path / 'dino.pth')
    torch.save(mocov3().content, tmp_path / 'moco.pth')
    torch.save(dino_bare().content, tmp_path / 'bare.pth')
    for file, network, seed in (
            ('dino', None, 0), ('dino', 'teacher', 0), ('dino', 'student', 1), ('bare', None, 0),
            ('bare', 'teacher', 0), ('moco', None, 0), ('moco', 'student', 0), ('moco', 'teacher', 1)):
        state = read_pretrained(tmp_path / f'{file}.pth', network).state
        assert torch.equal(state['cls_token'], vit_weights(seed=seed)['cls_token']), (file, network)
    with pytest.raises(InputError, match='no student network'):
        read_pretrained(tmp_path / 'bare.pth', 'student')
    with pytest.raises(InputError, match="'teacher', 'student' or None"):
        read_pretrained(tmp_path / 'bare.pth', 'ema')


@pytest.mark.parametrize('options', [
    dict(), dict(reg_tokens=4, no_embed_class=True), dict(reg_tokens=4), dict(class_token=False, global_pool='avg'),
    dict(init_values=0.5), dict(num_classes=5), dict(num_classes=5, global_pool='avg', fc_norm=True)])
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_timm_vision_transformer(options, suffix, tmp_path):
    model = timm.models.VisionTransformer(img_size=SIZES[0], patch_size=PATCH, embed_dim=DIM, depth=2, num_heads=3,
                                          dynamic_img_size=True, **dict(dict(num_classes=0), **options)).eval()
    _randomise(model)
    path = tmp_path / f'model{suffix}'
    _save(model.state_dict(), path)
    telling = suffix == '.safetensors' or {'reg_tokens', 'num_classes', 'global_pool', 'init_values'} & options.keys()
    assert read_pretrained(path).layout == ('timm' if telling else 'dino')
    backbone = loaded(path, layout='timm')
    assert backbone.position_rule == 'antialias'
    for size in SIZES:
        expected = model.forward_features(images(size))[:, model.num_prefix_tokens:]
        torch.testing.assert_close(backbone.forward_tokens(images(size)).patches, expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_config_json_of_timm_tells_the_heads(tmp_path):
    args = dict(img_size=32, embed_dim=128, depth=2, num_heads=8)
    model = timm.create_model('vit_small_patch16_224', num_classes=3, norm_layer=partial(torch.nn.LayerNorm, eps=1e-6), **args).eval()
    _randomise(model)
    _save(model.state_dict(), tmp_path / 'model.safetensors')
    assert backbone_config(tmp_path / 'model.safetensors')['arch']['num_heads'] == 2  # as of published ones
    (tmp_path / 'config.json').write_text(json.dumps(dict(architecture='vit_small_patch16_224', model_args=dict(args, num_classes=3))))
    pixels = torch.randn(2, 3, 32, 32)
    expected = model.forward_features(pixels)[:, 0]
    torch.testing.assert_close(load_backbone(tmp_path / 'model.safetensors').features(pixels), expected)


@torch.no_grad()
def test_config_json_of_hugging_face_tells_the_base_of_rotary_positions(tmp_path):
    transformers = pytest.importorskip('transformers')
    model = transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128, patch_size=8, rope_theta=30.)).eval()
    _randomise(model)
    model.save_pretrained(tmp_path)
    pixels = torch.randn(2, 3, 32, 48)
    torch.testing.assert_close(load_backbone(tmp_path / 'model.safetensors').features(pixels), model(pixels).pooler_output)
    with pytest.raises(InputError, match="base of 100: write mmdssl's"):
        convert_checkpoint(tmp_path / 'model.safetensors', tmp_path / 'out', 'timm')


def _randomise(model: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data.add_(0.1 * torch.randn(parameter.shape, generator=generator))


def _save(state: dict[str, Tensor], path: Path) -> None:
    torch.save(state, path) if path.suffix == '.pth' else save_file(state, path)


@pytest.mark.parametrize('options', [dict(use_rel_pos_bias=True), dict(use_shared_rel_pos_bias=True, init_values=0.1),
                                     dict(use_rel_pos_bias=True, use_abs_pos_emb=True)])
def test_timm_beit(options, tmp_path):
    defaults = dict(img_size=SIZES[0], patch_size=PATCH, embed_dim=DIM, depth=2, num_heads=3, qkv_bias=True,
                    use_abs_pos_emb=False, global_pool='token', num_classes=0)
    model = timm.models.Beit(**{**defaults, **options}).eval()
    _randomise(model)
    torch.save(model.state_dict(), tmp_path / 'model.pth')
    given = loaded(tmp_path / 'model.pth').forward_tokens(images()).patches
    torch.testing.assert_close(given, model.forward_features(images())[:, 1:], rtol=1e-4, atol=1e-4)


SIZE = dict(hidden_size=DIM, num_hidden_layers=2, image_size=GRID * PATCH, patch_size=PATCH)
BEIT = dict(**SIZE, intermediate_size=4 * DIM, layer_norm_eps=1e-6, use_mean_pooling=False)
FAMILIES = {
    'ViTModel': dict(**SIZE, intermediate_size=2 * DIM),
    'ViTForImageClassification': dict(**SIZE, intermediate_size=2 * DIM),
    'ViTMAEForPreTraining': dict(**SIZE, intermediate_size=4 * DIM, decoder_hidden_size=32, decoder_num_hidden_layers=1,
                                 decoder_num_attention_heads=2, decoder_intermediate_size=32),
    'Dinov2Model': SIZE,
    'Dinov2WithRegistersModel': SIZE,
    'BeitModel': dict(**BEIT, use_relative_position_bias=True),
    'BeitForMaskedImageModeling': dict(BEIT, use_shared_relative_position_bias=True, use_mask_token=True, vocab_size=8,
                                       use_mean_pooling=True),
}


@pytest.mark.parametrize('name', FAMILIES)
@pytest.mark.parametrize('saved', ['its own file', 'its state dict'])
def test_hugging_face(name, saved, tmp_path):
    """Its files have a config.json beside them, which tells the heads; a state dict has other names than they."""
    transformers = pytest.importorskip('transformers')
    cls = getattr(transformers, name)
    heads = 4 if saved == 'its own file' else 3
    model = cls(cls.config_class(num_attention_heads=heads, **FAMILIES[name])).eval()
    _randomise(model)
    if saved == 'its own file':
        model.save_pretrained(tmp_path)
        path = tmp_path / 'model.safetensors'
    else:
        path = tmp_path / 'model.pth'
        torch.save(model.state_dict(), path)
    assert read_pretrained(path).layout == 'huggingface'
    backbone, base = loaded(path), model.base_model
    sizes = SIZES[:1] if 'Beit' in name else SIZES
    for size in sizes:
        expected = _hugging_face_patches(model, base, images(size), name)
        # The epsilon of its norms is 1e-12, ours 1e-6.
        torch.testing.assert_close(backbone.forward_tokens(images(size)).patches, expected, rtol=1e-3, atol=1e-3)


def _hugging_face_patches(model, base, pixels: Tensor, name: str) -> Tensor:
    if name.startswith('ViTMAE'):  # which drops patches; all of them are kept here, in their order
        base.config.mask_ratio = 0.
        noise = torch.arange(pixels.shape[-1] * pixels.shape[-2] // PATCH**2).float().expand(len(pixels), -1)
        return base(pixels, noise=noise, interpolate_pos_encoding=True).last_hidden_state[:, 1:]
    if name == 'BeitForMaskedImageModeling':
        return model.layernorm(base(pixels).last_hidden_state)[:, 1:]
    options = dict(interpolate_pos_encoding=True) if name.startswith('ViT') else {}
    num_prefix = 5 if 'Registers' in name else 1
    return base(pixels, **options).last_hidden_state[:, num_prefix:]


RESNETS = {
    'torchvision': lambda w: {**w, 'fc.weight': torch.ones(5, 128), 'fc.bias': torch.ones(5)},
    'moco': lambda w: dict(arch='resnet50', state_dict={
        **behind('module.encoder_q.', {**w, 'fc.0.weight': torch.ones(4, 128)}), 'module.queue': torch.ones(4, 8)}),
    'moco with its key encoder': lambda w: dict(state_dict={
        **behind('module.encoder_k.', resnet_weights(8)), **behind('module.encoder_q.', w),
        'module.queue': torch.ones(4, 8)}),
    'densecl': lambda w: dict(state_dict=w, author='OpenSelfSup'),
    'densecl, the whole run': lambda w: dict(meta=dict(epoch=200), state_dict={
        **behind('encoder_q.0.', w), **behind('backbone.', w), **behind('encoder_k.0.', resnet_weights(8)),
        'encoder_q.1.mlp2.0.weight': torch.ones(2, 2, 1, 1), 'queue': torch.ones(4, 8), 'queue2': torch.ones(4, 8)}),
    'mmselfsup': lambda w: dict(
        meta=dict(cfg="model = dict(type='DenseCL', backbone=dict(type='ResNet', depth=50))"),
        state_dict={**behind('backbone.', w), **behind('encoder_k.0.', resnet_weights(8)),
                    'neck.mlp.0.weight': torch.ones(2)}),
    'dino': lambda w: dict(teacher={**behind('module.backbone.', w), 'module.head.mlp.0.weight': torch.ones(2)}),
    'swav': lambda w: behind('module.', {
        **w, 'projection_head.0.weight': torch.ones(2), 'prototypes.weight': torch.ones(2)}),
}


def resnet(**options):
    from mmdet.registry import MODELS
    return MODELS.build(dict(type='mmdet.ResNet', **dict(dict(depth=50, base_channels=4, stem_channels=4), **options)))


@pytest.mark.parametrize('release', RESNETS)
def test_resnets(release, tmp_path):
    weights, path = resnet_weights(), tmp_path / 'file.pth'
    torch.save(RESNETS[release](weights), path)
    pretrained = read_pretrained(path)
    assert pretrained.layout == 'resnet' and pretrained.config == dict(type='mmdet.ResNet', depth=50)
    backbone = resnet()
    backbone.eval()
    report = load_pretrained(backbone, path)
    assert not report.missing and len(report.matched) == len(weights)
    pixels = images((64, 96))
    torch.testing.assert_close(backbone(pixels)[-1], plain_resnet(weights, pixels), rtol=1e-4, atol=1e-4)


def test_the_thin_resnet_has_torchvisions_names():
    from torchvision.models import resnet50
    with torch.device('meta'):
        names = set(resnet50().state_dict())
    assert names - set(resnet_weights()) == {'fc.weight', 'fc.bias'} and not set(resnet_weights()) - names


def test_parts_of_a_resnet(tmp_path):
    """The C4 head's backbone has three stages, and its head the fourth."""
    torch.save(resnet_weights(), tmp_path / 'file.pth')
    c4 = resnet(num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(2, ))
    report = load_pretrained(c4, tmp_path / 'file.pth')
    left = {name: reason for name, reason in report.ignored.items() if name.startswith('layer4')}
    assert set(left.values()) == {'the module has no layer4'} and set(report.ignored) == set(left)
    stage = torch.nn.ModuleDict(dict(layer4=resnet().layer4))
    assert len(load_pretrained(stage, tmp_path / 'file.pth').matched) == len(left)
