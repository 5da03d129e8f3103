from __future__ import annotations

import mmengine.registry
import pytest
import torch
from mmengine.registry import DefaultScope, Registry
from safetensors.torch import save_file

from mmdssl.checkpoint import load_backbone, save_backbone
from mmdssl.errors import InputError
from mmdssl.registry import MODELS


def test_round_trip_builds_the_same_network(tiny_backbone, tmp_path):
    config = dict(tiny_backbone, position='sincos', mask_token=True)
    backbone = MODELS.build(config).eval()
    save_backbone(backbone, tmp_path / 'b.safetensors', config, epoch=3)
    loaded = load_backbone(tmp_path / 'b.safetensors')
    assert not loaded.training
    images = torch.randn(2, 3, 40, 24)
    torch.testing.assert_close(loaded.features(images), backbone.features(images), rtol=0, atol=0)


def test_loads_also_where_another_package_sets_the_scope(tmp_path):
    config = dict(type='VisionTransformer', arch=dict(embed_dim=16, depth=1, num_heads=2), patch_size=8, img_size=32)
    save_backbone(MODELS.build(config), tmp_path / 'b.safetensors', config)
    theirs = Registry('model', parent=mmengine.registry.MODELS, scope='theirs')
    theirs.register_module(name='VisionTransformer', module=torch.nn.Identity)
    with DefaultScope.overwrite_default_scope('theirs'):
        assert load_backbone(tmp_path / 'b.safetensors').embed_dim == 16


@MODELS.register_module()
class Pixels(torch.nn.Module):
    """A backbone of a kind that nobody publishes."""

    def __init__(self, width: int):
        super().__init__()
        self.blocks = torch.nn.ModuleList([torch.nn.ModuleList([torch.nn.Conv2d(3, width, 1)])])


def test_any_registered_network_comes_back(tmp_path):
    config = dict(type='Pixels', width=4)
    network = MODELS.build(config)
    save_backbone(network, tmp_path / 'b.safetensors', config)
    loaded = load_backbone(tmp_path / 'b.safetensors')
    assert torch.equal(loaded.blocks[0][0].weight, network.blocks[0][0].weight)
    state = {f'teacher.backbone.{name}': tensor for name, tensor in network.state_dict().items()}
    text = "model = dict(type='DINO', backbone=dict(type='Pixels', width=4))"
    torch.save(dict(state_dict=dict(state, other=torch.ones(1)), meta=dict(cfg=text)), tmp_path / 'run.pth')
    assert torch.equal(load_backbone(tmp_path / 'run.pth').blocks[0][0].weight, network.blocks[0][0].weight)


def test_an_interrupted_write_leaves_the_old_file(tiny_backbone, tmp_path, monkeypatch):
    path = tmp_path / 'b.safetensors'
    backbone = MODELS.build(tiny_backbone)
    save_backbone(backbone, path, tiny_backbone)
    before = path.read_bytes()

    def half(tensors, target, metadata):
        target.write_bytes(b'half')
        raise OSError('disk full')

    monkeypatch.setattr('mmdssl.checkpoint.backbone_file.save_file', half)
    with pytest.raises(OSError):
        save_backbone(backbone, path, tiny_backbone)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ['b.safetensors']


@pytest.mark.parametrize('content, message', [(None, 'does not exist'), (b'no tensors', 'not a safetensors file'),
                                              ('foreign', 'no vision transformer or ResNet')])
def test_other_files_are_refused_in_words(content, message, tmp_path):
    path = tmp_path / 'b.safetensors'
    if content == 'foreign':
        save_file(dict(weight=torch.zeros(2)), path)
    elif content:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_backbone(path)


def test_weights_that_do_not_fit_their_config_are_refused(tiny_backbone, tmp_path):
    save_backbone(MODELS.build(tiny_backbone), tmp_path / 'b.safetensors', dict(tiny_backbone, patch_size=4))
    with pytest.raises(InputError, match='does not fit'):
        load_backbone(tmp_path / 'b.safetensors')
