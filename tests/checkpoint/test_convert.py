"""Every form gives back the same tensors, and is what its own library builds."""
from __future__ import annotations

import json
import os

import pytest
import timm
import torch
from plain import DEPTH, DIM, GRID, PATCH, resnet_weights, vit_weights
from releases import RELEASES, bam, behind, beit, beit_finetuned, dino, dinov2, dinov2_registers, mmdssl_run, selfpatch
from safetensors.torch import load_file

from mmdssl.checkpoint import backbone_config, convert_checkpoint, load_backbone, read_pretrained
from mmdssl.errors import InputError

os.environ['HF_HUB_OFFLINE'] = '1'

SIZES = dict(img_size=GRID * PATCH, patch_size=PATCH, embed_dim=DIM, depth=DEPTH, num_heads=3, num_classes=0)
# No class token, or no final norm.
NOT_HUGGING_FACE = {'selfpatch', 'selfpatch_bare', 'beit_finetuned'}


def images() -> torch.Tensor:
    return torch.randn(2, 3, GRID * PATCH, GRID * PATCH, generator=torch.Generator().manual_seed(0))


def saved(release, folder):
    torch.save(release().content, folder / 'source.pth')
    return folder / 'source.pth'


@pytest.mark.parametrize('release', RELEASES)
@pytest.mark.parametrize('form', ['mmdssl', 'timm', 'huggingface'])
@pytest.mark.parametrize('suffix', ['.safetensors', '.pth'])
def test_round_trips_are_exact(release, form, suffix, tmp_path):
    source, target = saved(release, tmp_path), tmp_path / f'target{suffix}'
    if form == 'huggingface' and release.__name__ in NOT_HUGGING_FACE:
        with pytest.raises(InputError, match="Hugging Face's form, which needs a (class token|final norm)"):
            convert_checkpoint(source, target, form)
        return
    left_out = convert_checkpoint(source, target, form)
    before, after = read_pretrained(source), read_pretrained(target)
    assert after.config == before.config
    expected = {name: tensor for name, tensor in before.state.items() if name not in left_out}
    table = after.state.keys() - expected.keys()
    assert table == ({'pos_embed'} if before.config.get('position') == 'sincos' and form != 'mmdssl' else set())
    assert set(left_out) == ({'mask_token'} & before.state.keys() if form == 'timm' else set())
    for name, tensor in expected.items():
        assert torch.equal(after.state[name], tensor) and after.state[name].dtype == tensor.dtype, name
    features = load_backbone(target).features(images())
    assert torch.equal(features, load_backbone(source).features(images()))


@pytest.mark.parametrize('release, options', [
    (dino, dict()), (bam, dict(num_heads=12)), (mmdssl_run, dict(num_heads=2)), (dinov2, dict(init_values=1.)),
    (dinov2_registers, dict(init_values=1., reg_tokens=4)),
    (selfpatch, dict(class_token=False, global_pool='avg', final_norm=False, fc_norm=False))])
def test_timm_builds_it(release, options, tmp_path):
    convert_checkpoint(saved(release, tmp_path), tmp_path / 'model.safetensors', 'timm')
    model = timm.models.VisionTransformer(**{**SIZES, **options}).eval()
    model.load_state_dict(load_file(tmp_path / 'model.safetensors'))
    expected = load_backbone(tmp_path / 'source.pth').forward_tokens(images()).patches
    given = model.forward_features(images())[:, model.num_prefix_tokens:]
    torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('release', [beit, beit_finetuned])
def test_timm_builds_a_beit(release, tmp_path):
    convert_checkpoint(saved(release, tmp_path), tmp_path / 'model.safetensors', 'timm')
    model = timm.models.Beit(**SIZES, qkv_bias=True, use_rel_pos_bias=True, use_abs_pos_emb=release is beit_finetuned,
                             init_values=1., global_pool='token').eval()
    if release is beit_finetuned:
        model.norm = torch.nn.Identity()
    model.load_state_dict(load_file(tmp_path / 'model.safetensors'))
    expected = load_backbone(tmp_path / 'source.pth').forward_tokens(images()).patches
    torch.testing.assert_close(model.forward_features(images())[:, 1:], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('release', [dino, bam, mmdssl_run, dinov2, dinov2_registers, beit])
def test_hugging_face_builds_it(release, tmp_path):
    transformers = pytest.importorskip('transformers')
    source = saved(release, tmp_path)
    (tmp_path / 'model').mkdir()
    convert_checkpoint(source, tmp_path / 'model/model.safetensors', 'huggingface')
    model, loading = transformers.AutoModel.from_pretrained(tmp_path / 'model', output_loading_info=True)
    assert not loading['unexpected_keys'] - {'embeddings.mask_token'} and not loading['mismatched_keys']
    assert all(name.startswith('pooler.') for name in loading['missing_keys'] - {'embeddings.mask_token'})
    expected = load_backbone(source).forward_tokens(images()).patches
    given = model.eval()(images()).last_hidden_state[:, -GRID * GRID:]
    torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-4)


def test_what_hugging_face_wrote_comes_back(tmp_path):
    transformers = pytest.importorskip('transformers')
    config = transformers.Dinov2WithRegistersConfig(hidden_size=DIM, num_hidden_layers=2, num_attention_heads=4,
                                                    image_size=GRID * PATCH, patch_size=PATCH)
    transformers.Dinov2WithRegistersModel(config).save_pretrained(tmp_path / 'theirs')
    (tmp_path / 'again').mkdir()
    convert_checkpoint(tmp_path / 'theirs/model.safetensors', tmp_path / 'ours.safetensors', 'mmdssl')
    convert_checkpoint(tmp_path / 'ours.safetensors', tmp_path / 'again/model.safetensors', 'huggingface')
    first, second = (load_file(tmp_path / folder / 'model.safetensors') for folder in ('theirs', 'again'))
    assert first.keys() == second.keys() and all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    theirs, ours = (json.loads((tmp_path / folder / 'config.json').read_text()) for folder in ('theirs', 'again'))
    assert all(ours[key] == theirs[key] for key in ours if key not in ('mmdssl', 'qkv_bias'))


def test_either_network_of_a_pair(tmp_path):
    convert_checkpoint(saved(dino, tmp_path), tmp_path / 'student.pth', 'mmdssl', network='student')
    assert torch.equal(read_pretrained(tmp_path / 'student.pth').state['cls_token'], vit_weights(seed=1)['cls_token'])


def test_a_resnet_keeps_torchvisions_names(tmp_path):
    torch.save(dict(state_dict=behind('module.encoder_q.', resnet_weights())), tmp_path / 'r.pth')
    for form in ('timm', 'mmdssl'):
        convert_checkpoint(tmp_path / 'r.pth', tmp_path / f'{form}.safetensors', form)
        written = load_file(tmp_path / f'{form}.safetensors')
        assert all(torch.equal(written[name], tensor) for name, tensor in resnet_weights().items())
        assert backbone_config(tmp_path / f'{form}.safetensors') == dict(type='mmdet.ResNet', depth=50)
    with pytest.raises(InputError, match='needs a vision transformer'):
        convert_checkpoint(tmp_path / 'r.pth', tmp_path / 'h.safetensors', 'huggingface')


def test_what_a_form_cannot_hold_is_refused(tmp_path):
    weights = dict(beit().content['model'])
    for i in range(DEPTH):
        bias = [weights.pop(f'blocks.{i}.attn.{part}_bias') for part in 'qv']
        weights[f'blocks.{i}.attn.qkv.bias'] = torch.cat([bias[0], torch.ones(DIM), bias[1]])
    torch.save(weights, tmp_path / 'keys.pth')
    for form in ('timm', 'huggingface'):
        with pytest.raises(InputError, match='whose keys have no bias'):
            convert_checkpoint(tmp_path / 'keys.pth', tmp_path / 'out.pth', form)
    torch.save(vit_weights(registers=4), tmp_path / 'registers.pth')
    with pytest.raises(InputError, match='needs LayerScale beside registers'):
        convert_checkpoint(tmp_path / 'registers.pth', tmp_path / 'out.pth', 'huggingface')


def test_wrong_targets_are_refused(tmp_path):
    source = saved(dino, tmp_path)
    with pytest.raises(InputError, match=r'end in .safetensors or .pth'):
        convert_checkpoint(source, tmp_path / 'out.bin', 'timm')
    with pytest.raises(InputError, match='does not exist: make it first'):
        convert_checkpoint(source, tmp_path / 'none/out.pth', 'timm')
    with pytest.raises(InputError, match='the form is one of'):
        convert_checkpoint(source, tmp_path / 'out.pth', 'keras')
    (tmp_path / 'config.json').write_text('{"name": "other"}')
    with pytest.raises(InputError, match='belongs to something else'):
        convert_checkpoint(source, tmp_path / 'out.safetensors', 'huggingface')
    assert not (tmp_path / 'out.safetensors').exists()
