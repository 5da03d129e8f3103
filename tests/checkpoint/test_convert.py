"""Every form gives back the same tensors, and is what its own library builds."""
from __future__ import annotations

import json
import os

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from plain import DEPTH, DIM, GRID, PATCH, resnet_weights, vit_weights
from releases import RELEASES, bam, behind, beit, beit_finetuned, dino, dinov2, dinov2_registers, ibot_bare, mmdssl_run, selfpatch
from safetensors.torch import load_file
from torchvision.transforms import v2

from mmdssl.checkpoint import backbone_config, convert_checkpoint, load_backbone, read_pretrained, save_backbone
from mmdssl.checkpoint.networks import IMAGENET
from mmdssl.errors import InputError
from mmdssl.registry import MODELS

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
    left_out = convert_checkpoint(source, target, form).left_out
    before, after = read_pretrained(source), read_pretrained(target)
    assert after.config == before.config
    expected = {name: tensor for name, tensor in before.state.items() if name not in left_out}
    table = after.state.keys() - expected.keys()
    assert table == ({'pos_embed'} if before.config.get('position') == 'sincos' and form != 'mmdssl' else set())
    no_place = form == 'timm' or form == 'huggingface' and not {'relative_position', 'layer_scale'} & before.config.keys()
    assert set(left_out) == ({'mask_token'} & before.state.keys() if no_place else set())
    for name, tensor in expected.items():
        assert torch.equal(after.state[name], tensor) and after.state[name].dtype == tensor.dtype, name
    features = load_backbone(target).features(images())
    assert torch.equal(features, load_backbone(source).features(images()))


def loaded_as_said(lines: str) -> dict:
    """What the lines make that the conversion prints."""
    names: dict = {}
    exec(lines, names)
    return names


def beit_unscaled():
    """Without LayerScale."""
    release = beit()
    release.content['model'] = {name: tensor for name, tensor in release.content['model'].items() if 'gamma' not in name}
    return release


def our_transform(side: int, mean: list[float] = IMAGENET['mean'], std: list[float] = IMAGENET['std']) -> v2.Compose:
    """What the protocols do with an image."""
    return v2.Compose([v2.ToImage(), v2.Resize(round(side * 8 / 7), v2.InterpolationMode.BICUBIC), v2.CenterCrop(side),
                       v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)])


@pytest.mark.parametrize('release', [dino, bam, mmdssl_run, dinov2, dinov2_registers, selfpatch, beit, beit_unscaled])
def test_timm_builds_it_by_the_line_that_is_said(release, tmp_path):
    """From a file, and from a folder, which timm knows by its config.json too."""
    written = convert_checkpoint(saved(release, tmp_path), tmp_path / 'model.safetensors', 'timm')
    assert 'num_classes=0' in written.how
    folder = tmp_path / 'folder'
    lines = convert_checkpoint(tmp_path / 'source.pth', folder, 'timm').how
    models = [loaded_as_said(written.how)['model'], loaded_as_said(lines)['model']]
    if (folder / 'config.json').exists():  # timm can be told of its norms there
        models.append(timm.create_model(f'local-dir:{folder}', pretrained=True, num_classes=0))
    assert len(models) == 3 or 'norm_layer' in lines
    expected = load_backbone(tmp_path / 'source.pth').forward_tokens(images())
    for model in models:
        given = model.eval().forward_features(images())
        torch.testing.assert_close(given[:, model.num_prefix_tokens:], expected.patches, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(model(images()), expected.cls, rtol=1e-4, atol=1e-4)
        assert json.loads(json.dumps(timm.data.resolve_model_data_config(model))) == dict(
            IMAGENET, input_size=[3, GRID * PATCH, GRID * PATCH], interpolation='bicubic', crop_pct=0.875, crop_mode='center')


@pytest.mark.parametrize('form', ['timm', 'huggingface'])
def test_the_normalisation_of_the_run_goes_with_its_weights(form, tiny_backbone, tmp_path):
    """And images are prepared elsewhere as our protocols do it."""
    pixels = dict(mean=[0.25, 0.5, 0.375], std=[0.5, 0.25, 0.125])
    config = dict(tiny_backbone, img_size=56)
    save_backbone(MODELS.build(config), tmp_path / 'ours.safetensors', config, pixels=json.dumps(pixels))
    convert_checkpoint(tmp_path / 'ours.safetensors', tmp_path / 'again.pth', 'mmdssl')
    names = loaded_as_said(convert_checkpoint(tmp_path / 'again.pth', tmp_path / form, form).how)
    assert read_pretrained(tmp_path / form / 'model.safetensors').pixels == pixels
    image = np.random.default_rng(0).integers(0, 256, (50, 37, 3), np.uint8)
    prepared = names['transform'](Image.fromarray(image)) if form == 'timm' else names['processor'](
        Image.fromarray(image), return_tensors='pt').pixel_values[0]
    expected = our_transform(56, **pixels)(image)
    assert ((prepared - expected) * torch.tensor(pixels['std'])[:, None, None]).abs().max() < 0.012  # 1 of 255 is that of a resize in them
    (tmp_path / 'preprocessor_config.json').write_text(json.dumps(dict(image_mean=[0.5] * 3, image_std=[0.25] * 3)))
    torch.save(dino().content, tmp_path / 'dino.pth')
    assert read_pretrained(tmp_path / 'dino.pth').pixels == dict(mean=[0.5] * 3, std=[0.25] * 3)


def test_timm_builds_a_beit_without_a_final_norm(tmp_path):
    """With help, for no argument of timm's takes the norm away."""
    written = convert_checkpoint(saved(beit_finetuned, tmp_path), tmp_path / 'model.safetensors', 'timm')
    assert not written.how
    model = timm.models.Beit(**SIZES, qkv_bias=True, use_rel_pos_bias=True, use_abs_pos_emb=True, init_values=1.,
                             global_pool='token').eval()
    model.norm = torch.nn.Identity()
    model.load_state_dict(load_file(tmp_path / 'model.safetensors'))
    expected = load_backbone(tmp_path / 'source.pth').forward_tokens(images()).patches
    torch.testing.assert_close(model.forward_features(images())[:, 1:], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('release', [dino, ibot_bare, bam, mmdssl_run, dinov2, dinov2_registers, beit])
def test_hugging_face_builds_it_from_a_folder(release, tmp_path):
    transformers = pytest.importorskip('transformers')
    source = saved(release, tmp_path)
    written = convert_checkpoint(source, tmp_path / 'model', 'huggingface')
    options = dict(add_pooling_layer=False) if 'pooling' in written.how else {}
    _, loading = transformers.AutoModel.from_pretrained(tmp_path / 'model', output_loading_info=True, **options)
    assert not any(loading[kind] for kind in ('unexpected_keys', 'mismatched_keys', 'missing_keys'))
    expected = load_backbone(source).forward_tokens(images())
    given = loaded_as_said(written.how)['model'].eval()(images()).last_hidden_state
    torch.testing.assert_close(given[:, -GRID * GRID:], expected.patches, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(given[:, 0], expected.cls, rtol=1e-4, atol=1e-4)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / 'model').iterdir()} == {0o666 & ~umask()}


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


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


def test_a_folder_holds_one_conversion_and_nothing_of_others_is_overwritten(tmp_path):
    source, folder = saved(dino, tmp_path), tmp_path / 'ours'
    for form, beside in dict(huggingface={'config.json', 'preprocessor_config.json'}, timm={'config.json'}, mmdssl=set()).items():
        convert_checkpoint(source, folder, form)
        assert {path.name for path in folder.iterdir()} == {'model.safetensors', *beside}
    for name in ('README.md', 'model.safetensors'):
        (theirs := tmp_path / name.partition('.')[0]).mkdir()
        (theirs / name).write_text('of somebody else')
        with pytest.raises(InputError, match=f'{name} is there already and belongs to something else'):
            convert_checkpoint(source, theirs, 'mmdssl')
        assert [path.read_text() for path in theirs.iterdir()] == ['of somebody else']


def test_one_of_several_parts_is_not_taken_for_a_smaller_network(tmp_path):
    torch.save(vit_weights(), tmp_path / 'pytorch_model-00001-of-00002.bin')
    with pytest.raises(InputError, match='one of several parts: put them together first'):
        read_pretrained(tmp_path / 'pytorch_model-00001-of-00002.bin')
    torch.save(vit_weights(), tmp_path / 'pytorch_model-00001-of-00001.bin')
    assert read_pretrained(tmp_path / 'pytorch_model-00001-of-00001.bin').layout == 'dino'
