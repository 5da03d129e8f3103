"""DINOv3 and DINOv2 in the names of their authors, Hugging Face and timm compute what the classes of the latter two compute."""
from __future__ import annotations

import os
import re

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mmdssl.checkpoint import convert_checkpoint, load_backbone, load_pretrained, read_pretrained
from mmdssl.errors import InputError

os.environ['HF_HUB_OFFLINE'] = '1'

DIM, HEADS = 128, 2
SIZES = [(64, 64), (96, 48), (32, 112)]  # in patches of 16, of which timm has names for rotary networks
FOURTEEN = [(56, 56), (84, 42), (28, 98)]


def randomised(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        scale = 0.02 if parameter.ndim == 2 else 0.1
        parameter.data.add_(scale * torch.randn(parameter.shape, generator=generator))
        if re.search(r'gamma|lambda', name):
            parameter.data.fill_(0.5)
    return model.eval()


def images(size: tuple[int, int]) -> Tensor:
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def assert_same_features(path, model: nn.Module, sizes: list[tuple[int, int]], layout: str) -> None:
    """All of the file is loaded, and CLS and patches are those of the model."""
    backbone, read = load_backbone(path), read_pretrained(path)
    assert read.layout == layout
    report = load_pretrained(backbone, read)
    assert set(backbone.state_dict()) - {*report.matched} <= {'mask_token'}
    for size in sizes:
        given = backbone.forward_tokens(images(size))
        tokens = model.forward_features(images(size)) if hasattr(model, 'forward_features') else model(images(size)).last_hidden_state
        torch.testing.assert_close(given.cls, tokens[:, 0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(given.patches, tokens[:, -given.patches.shape[1]:], rtol=1e-4, atol=1e-4)


def of_hugging_face(name: str, **options) -> nn.Module:
    transformers = pytest.importorskip('transformers')
    cls = getattr(transformers, f'{name}Model')
    return randomised(cls(cls.config_class(hidden_size=DIM, num_hidden_layers=2, num_attention_heads=HEADS, **options)))


def dinov3(gated: bool, **options) -> nn.Module:
    sizes = dict(intermediate_size=192, num_register_tokens=3, image_size=64)
    return of_hugging_face('DINOv3ViT', use_gated_mlp=gated, hidden_act='silu' if gated else 'gelu', **{**sizes, **options})


@pytest.mark.parametrize('gated, options', [(False, dict(num_register_tokens=0)), (True, dict()), (False, dict(key_bias=True))])
@pytest.mark.parametrize('saved', ['its own file', 'its state dict'])
def test_dinov3_of_hugging_face(gated, options, saved, tmp_path):
    model = dinov3(gated, **options)
    if saved == 'its own file':
        model.save_pretrained(tmp_path)
        path = tmp_path / 'model.safetensors'
    else:
        torch.save(model.state_dict(), path := tmp_path / 'model.pth')
    assert_same_features(path, model, SIZES, 'huggingface')


def of_the_authors(model: nn.Module, gated: bool) -> dict[str, Tensor]:
    """The weights of Hugging Face's DINOv3 in the authors' names, with what else is in their files."""
    state = {}
    for name, tensor in model.state_dict().items():
        name = re.sub(r'^model\.layer\.', 'blocks.', name).replace('embeddings.register_tokens', 'storage_tokens')
        name = name.replace('embeddings.patch_embeddings', 'patch_embed.proj').removeprefix('embeddings.')
        for theirs, ours in {'attention.o_proj': 'attn.proj', 'layer_scale1.lambda1': 'ls1.gamma', 'layer_scale2.lambda1': 'ls2.gamma',
                             **({'gate_proj': 'w1', 'up_proj': 'w2', 'down_proj': 'w3'} if gated else
                                {'up_proj': 'fc1', 'down_proj': 'fc2'})}.items():
            name = name.replace(theirs, ours)
        state[name] = tensor
    for i in range(2):
        q, k, v = ({kind: state.pop(f'blocks.{i}.attention.{part}_proj.{kind}', None) for kind in ('weight', 'bias')} for part in 'qkv')
        state[f'blocks.{i}.attn.qkv.weight'] = torch.cat([q['weight'], k['weight'], v['weight']])
        state[f'blocks.{i}.attn.qkv.bias'] = torch.cat([q['bias'], torch.ones(DIM), v['bias']])
        state[f'blocks.{i}.attn.qkv.bias_mask'] = torch.cat([torch.ones(DIM), torch.zeros(DIM), torch.ones(DIM)])
    norms = {f'local_cls_norm.{kind}': torch.ones(DIM) for kind in ('weight', 'bias')}
    periods = 100**(2 * torch.arange(DIM // HEADS // 4) / (DIM // HEADS // 2))
    return {**state, **norms, 'mask_token': torch.ones(1, DIM), 'rope_embed.periods': periods}


@pytest.mark.parametrize('gated', [False, True])
def test_dinov3_of_its_authors(gated, tmp_path):
    model = dinov3(gated)
    state = of_the_authors(model, gated)
    torch.save(state, tmp_path / 'dinov3.pth')
    assert_same_features(tmp_path / 'dinov3.pth', model, SIZES, 'dinov3')
    read = read_pretrained(tmp_path / 'dinov3.pth')
    assert set(read.ignored.values()) == {'only used to train on local crops'} and not read.config['key_bias']
    torch.save({**state, 'rope_embed.periods': state['rope_embed.periods'].bfloat16()}, tmp_path / 'rounded.pth')
    rounded = load_backbone(tmp_path / 'rounded.pth')
    assert torch.equal(rounded.rope_periods, state['rope_embed.periods'].bfloat16().float()), 'theirs are rounded, and computed with'


@pytest.mark.parametrize('name, options', [
    ('vit_small_patch16_dinov3_qkvb', dict()), ('vit_small_patch16_dinov3', dict()),
    ('vit_small_plus_patch16_dinov3_qkvb', dict(mlp_ratio=1.5))])
def test_dinov3_of_timm(name, options, tmp_path):
    model = randomised(timm.create_model(name, embed_dim=DIM, depth=2, num_heads=HEADS, num_classes=0, **options))
    save_file(model.state_dict(), tmp_path / 'model.safetensors')
    assert_same_features(tmp_path / 'model.safetensors', model, SIZES, 'dinov3')


@pytest.mark.parametrize('gated', [False, True])
@pytest.mark.parametrize('form', ['timm', 'huggingface', 'mmdssl'])
def test_dinov3_is_written_and_loaded_by_the_lines_that_are_said(form, gated, tmp_path):
    model, names = dinov3(gated), {}
    torch.save(of_the_authors(model, gated), tmp_path / 'dinov3.pth')
    written = convert_checkpoint(tmp_path / 'dinov3.pth', tmp_path / 'out', form)
    exec(written.how, names)
    source, again = (read_pretrained(path) for path in (tmp_path / 'dinov3.pth', tmp_path / 'out/model.safetensors'))
    assert again.config == source.config
    left_out = {'rope_periods', *(['mask_token'] if form == 'timm' else [])} if form != 'mmdssl' else set()
    assert set(written.left_out) == left_out
    assert all(torch.equal(again.state[name], tensor) for name, tensor in source.state.items() if name in again.state)
    assert source.state.keys() ^ again.state.keys() <= {'mask_token'}
    if form == 'mmdssl':
        assert torch.equal(names['model'].features(images(SIZES[1])), load_backbone(tmp_path / 'dinov3.pth').features(images(SIZES[1])))
    else:
        assert_same_features(tmp_path / 'out/model.safetensors', names['model'].eval(), SIZES, 'mmdssl')


@pytest.mark.parametrize('registers', [0, 4])
@pytest.mark.parametrize('gated', [False, True])
def test_dinov2_with_patches_of_14_pixels_of_hugging_face_and_of_its_authors(gated, registers, tmp_path):
    name = 'Dinov2WithRegisters' if registers else 'Dinov2'
    options = dict(num_register_tokens=registers) if registers else {}
    model = of_hugging_face(name, image_size=56, patch_size=14, use_swiglu_ffn=gated, mlp_ratio=2, **options)
    model.save_pretrained(tmp_path)
    assert_same_features(tmp_path / 'model.safetensors', model, FOURTEEN, 'huggingface')
    state = read_pretrained(tmp_path / 'model.safetensors').state
    for first in [name for name in state if 'fc1_g' in name]:
        state[first.replace('fc1_g', 'w12')] = torch.cat([state.pop(first), state.pop(first.replace('fc1_g', 'fc1_x'))])
    state = {(name.replace('fc2', 'w3') if gated else name).replace('reg_token', 'register_tokens'): tensor
             for name, tensor in state.items()}
    torch.save({**state, 'mask_token': torch.ones(1, DIM)}, tmp_path / 'dinov2.pth')
    sizes = FOURTEEN if registers else FOURTEEN[:1]  # without registers, the authors resize by another rule
    assert_same_features(tmp_path / 'dinov2.pth', model, sizes, 'dinov2')
    for form in ('huggingface', 'timm'):
        lines = convert_checkpoint(tmp_path / 'dinov2.pth', tmp_path / form, form).how
        names: dict = {}
        exec(lines, names)
        assert_same_features(tmp_path / form / 'model.safetensors', names['model'].eval(), FOURTEEN[:1], 'mmdssl')


@pytest.mark.parametrize('name, options', [('vit_small_patch14_reg4_dinov2', dict()),
                                           ('vit_giant_patch14_reg4_dinov2', dict()), ('vit_small_patch14_dinov2', dict())])
def test_dinov2_of_timm(name, options, tmp_path):
    model = randomised(timm.create_model(name, embed_dim=DIM, depth=2, num_heads=HEADS, img_size=56, dynamic_img_size=True, num_classes=0))
    save_file(model.state_dict(), tmp_path / 'model.safetensors')
    assert_same_features(tmp_path / 'model.safetensors', model, FOURTEEN, 'timm')


def test_networks_of_videos_are_refused_by_name(tmp_path):
    state = {'patch_embed.proj.weight': torch.ones(DIM, 3, 2, 16, 16), 'blocks.0.norm1.weight': torch.ones(DIM)}
    content = {part: {f'module.backbone.{name}': tensor for name, tensor in state.items()} for part in ('encoder', 'target_encoder')}
    torch.save(content, tmp_path / 'vjepa.pth')
    with pytest.raises(InputError, match='is not supported: V-JEPA and other networks of videos cut time into patches too'):
        read_pretrained(tmp_path / 'vjepa.pth')


def test_eva_02_is_not_taken_for_a_beit(tmp_path):
    model = timm.create_model('eva02_tiny_patch14_224', embed_dim=DIM, depth=1, num_heads=HEADS, num_classes=0)
    torch.save(model.state_dict(), tmp_path / 'eva.pth')
    with pytest.raises(InputError, match='the rotary positions of EVA-02'):
        read_pretrained(tmp_path / 'eva.pth')
