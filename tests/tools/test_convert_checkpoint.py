"""The command line of ``tools/convert_checkpoint.py``."""
from __future__ import annotations

import pytest
import torch

from mmdssl.checkpoint import load_backbone, save_backbone
from mmdssl.registry import MODELS


@pytest.fixture
def convert(load_tool):
    """The tool's ``main``, of the arguments."""
    main = load_tool('convert_checkpoint').main
    return lambda *args: main([str(arg) for arg in args])


def test_a_backbone_of_ours_to_timm_and_back(convert, tiny_backbone, tmp_path, capsys):
    config = dict(tiny_backbone, position='sincos', mask_token=True)
    backbone = MODELS.build(config).eval()
    save_backbone(backbone, tmp_path / 'ours.safetensors', config)
    assert convert(tmp_path / 'ours.safetensors', tmp_path / 'timm.pth', '--to', 'timm') == 0
    printed = capsys.readouterr().out
    # Without the mask token, with a table of positions.
    assert f'{len(backbone.state_dict())} tensors as timm' in printed
    assert 'left out, as timm has no place for them: mask_token' in printed
    assert convert(tmp_path / 'timm.pth', tmp_path / 'again.safetensors', '--to', 'mmdssl') == 0
    assert 'left out' not in capsys.readouterr().out
    images = torch.randn(2, 3, 40, 24)
    assert torch.equal(load_backbone(tmp_path / 'again.safetensors').features(images), backbone.features(images))


def test_mistakes_are_explained(convert, tmp_path, capsys):
    assert convert(tmp_path / 'none.pth', tmp_path / 'out.pth', '--to', 'timm') == 2
    assert capsys.readouterr().err.startswith('error: checkpoint') and not (tmp_path / 'out.pth').exists()
    with pytest.raises(SystemExit):
        convert('a.pth', 'b.pth', '--to', 'keras')
