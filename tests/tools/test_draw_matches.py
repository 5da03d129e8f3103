from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmdssl.checkpoint import save_backbone
from mmdssl.registry import MODELS

CONFIG = "train_dataloader = dict(dataset=dict(views=dict(global_=dict(type='CropViews', size=32, num={num}, scale=(0.5, 1.0)))))"
NETWORKS = dict(
    vit=dict(type='mmdssl.VisionTransformer', arch=dict(embed_dim=16, depth=1, num_heads=2), patch_size=8, img_size=32),
    resnet=dict(type='mmdssl.TimmBackbone', name='resnet18', stem_stride=2, model_args=dict(layers=(1, 1, 1, 1), channels=(8, 8, 8, 8))))


@pytest.fixture(scope='module')
def main(load_tool):
    return load_tool('draw_matches').main


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A folder, now the current one, with two configs, weights and three photos."""
    monkeypatch.chdir(tmp_path)
    for name, num in (('two', 2), ('one', 1)):
        (tmp_path / f'{name}.py').write_text(CONFIG.format(num=num))
    for name, config in NETWORKS.items():
        save_backbone(MODELS.build(config), tmp_path / f'{name}.safetensors', config)
    (tmp_path / 'photos').mkdir()
    for i in range(3):
        noise = np.random.default_rng(i).integers(0, 256, (60, 90, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f'photos/{i}.png')
    return tmp_path


@pytest.mark.parametrize('network, options, cells', [('vit', [], 4), ('resnet', [], 2), ('vit', ['--grid', '3'], 3)])
def test_a_row_per_photo(main, here, capsys, network, options, cells):
    assert main(['two.py', f'{network}.safetensors', '--images', 'photos', '--number', '2', *options]) == 0
    assert f'matches.png: 2 photos, {cells} x {cells} cells' in capsys.readouterr().out
    assert Image.open('matches.png').size == (2 * 224 + 3 * 16, 2 * 240 + 16)


@pytest.mark.parametrize('arguments, message', [
    (['one.py', 'vit.safetensors'], 'one.py makes 1 global views, and two are compared'),
    (['two.py', 'none.safetensors'], 'none.safetensors'),
    (['two.py', 'vit.safetensors', '--lines', '0'], '--lines 0'),
    (['two.py', 'vit.safetensors', '--out', 'none/a.png'], 'the folder of --out none/a.png must exist'),
])
def test_what_does_not_fit_is_said_in_a_line(main, here, capsys, arguments, message):
    assert main([*arguments, '--images', 'photos']) == 2
    error = capsys.readouterr().err
    assert message in error and error.count('\n') == 1
