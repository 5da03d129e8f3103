"""Image towers of CLIP and SigLIP, in timm's names, are timm's networks."""
from __future__ import annotations

import json

import pytest
import timm
import torch
from safetensors.torch import save_file

from mmdssl.checkpoint import backbone_config, convert_checkpoint, load_backbone, load_pretrained, read_pretrained
from mmdssl.errors import InputError
from mmdssl.registry import MODELS

ARGS = dict(embed_dim=64, depth=2, num_heads=2, img_size=64)
TOWERS = ['vit_base_patch16_clip_224', 'vit_base_patch16_clip_quickgelu_224', 'vit_base_patch16_siglip_224']


@pytest.fixture(params=TOWERS)
def tower(request, tmp_path):
    """A tower in a folder as timm writes it to the hub."""
    model = timm.create_model(request.param, dynamic_img_size=True, num_classes=8 if 'clip' in request.param else 0, **ARGS).eval()
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, tmp_path / 'model.safetensors')
    (tmp_path / 'config.json').write_text(json.dumps(
        dict(architecture=request.param, model_args=dict(ARGS, num_classes=8, in_chans=3), num_classes=8,
             pretrained_cfg=dict(mean=[0.5, 0.4, 0.3], std=[0.2, 0.2, 0.3]))))
    return request.param, model, tmp_path / 'model.safetensors'


@torch.no_grad()
def test_a_tower_computes_what_timms_computes(tower):
    name, model, path = tower
    backbone = load_backbone(path)
    assert backbone_config(path) == dict(type='mmdssl.TimmBackbone', name=name, model_args=ARGS)
    for size in ((64, 64), (96, 48), (48, 112)):
        images = torch.randn(2, 3, *size)
        torch.testing.assert_close(backbone.features(images), model.forward_head(model.forward_features(images), pre_logits=True))


@torch.no_grad()
def test_without_its_config_a_tower_fits_a_network_that_is_named(tower):
    """And its positions are resized to another frame, as timm does it."""
    name, model, path = tower
    path.with_name('config.json').unlink()
    assert read_pretrained(path).layout == 'timm-network'
    with pytest.raises(InputError, match="does not tell which of timm's networks it is for: put the config.json"):
        backbone_config(path)
    backbone = MODELS.build(dict(type='TimmBackbone', name=name, model_args=dict(ARGS, img_size=96))).eval()
    report = load_pretrained(backbone, path)
    assert set(report.resized) == {'pos_embed'} and not report.missing
    images = torch.randn(2, 3, 96, 96)
    expected = model.forward_head(model.forward_features(images), pre_logits=True)
    torch.testing.assert_close(backbone.features(images), expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_tower_goes_on_to_timm_with_its_normalisation(tower, tmp_path):
    _, model, path = tower
    names: dict = {}
    exec(convert_checkpoint(path, tmp_path / 'out', 'timm').how, names)
    images = torch.randn(2, 3, 64, 64)
    expected = model.forward_head(model.forward_features(images), pre_logits=True)
    for again in (names['model'], timm.create_model(f'local-dir:{tmp_path / "out"}', pretrained=True, num_classes=0)):
        torch.testing.assert_close(again.eval()(images), expected)
        found = timm.data.resolve_model_data_config(again)
        assert (found['mean'], found['std'], found['input_size'][-1]) == ([0.5, 0.4, 0.3], [0.2, 0.2, 0.3], 64)
