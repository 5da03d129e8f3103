from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmdssl.checkpoint import save_backbone
from mmdssl.registry import MODELS

CONFIG = """
train_dataloader = dict(dataset=dict(views=dict(
    global_=dict(size=32, scale=(0.25, 1.0), photometric=[dict(), dict(blur_prob=1.0)], box_alpha={alpha}),
    local=dict(size=16, scale=(0.05, 0.25), num=3, box_alpha={alpha}),
    query=dict(size=8, scale=(0.05, 0.15)))))
{hook} = dict(contrastive_crop=dict(type='mmdssl.ContrastiveCropHook', size=32, threshold=0.3))
"""


@pytest.fixture(scope='module')
def main(load_tool):
    return load_tool('draw_crops').main


@pytest.fixture
def here(tmp_path, monkeypatch, tiny_backbone) -> Path:
    """A folder, now the current one, with a config, weights and five photos."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'crops.py').write_text(CONFIG.format(alpha=.6, hook='default_hooks'))
    (tmp_path / 'plain.py').write_text(CONFIG.format(alpha=None, hook='nothing'))
    (tmp_path / 'anywhere.py').write_text(CONFIG.format(alpha=None, hook='default_hooks'))
    save_backbone(MODELS.build(tiny_backbone), tmp_path / 'vit.safetensors', tiny_backbone)
    (tmp_path / 'photos').mkdir()
    for i in range(5):
        noise = np.random.default_rng(i).integers(0, 256, (60, 90, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f'photos/{i}.png')
    return tmp_path


def test_a_row_per_photo_and_a_tile_per_crop(main, here, capsys):
    assert main(['crops.py', 'vit.safetensors', '--images', 'photos', '--number', '3', '--out', 'a.png']) == 0
    assert 'a.png: 3 photos' in capsys.readouterr().out
    first = np.array(Image.open(here / 'a.png'))
    assert first.shape == (3 * 228 + 4, (2 + 2 + 3) * 228 + 4, 3)
    main(['crops.py', 'vit.safetensors', '--images', 'photos', '--number', '3', '--out', 'b.png', '--seed', '1'])
    second = np.array(Image.open(here / 'b.png'))
    assert (first[:, :230] == second[:, :230]).all()  # the same boxes
    assert (first[:, 460:] != second[:, 460:]).any()  # but other crops


@pytest.mark.parametrize('arguments, message', [
    (['plain.py', 'vit.safetensors'], 'plain.py has no ContrastiveCropHook'),
    (['none.py', 'vit.safetensors'], "config 'none.py' does not exist"),
    (['crops.py', 'none.safetensors'], 'none.safetensors'),
    (['crops.py', 'vit.safetensors', '--number', '-2'], '--number -2 must be 1 or more'),
    (['crops.py', 'vit.safetensors', '--out', 'none/a.png'], 'the folder of --out none/a.png must exist'),
    (['anywhere.py', 'vit.safetensors'], 'anywhere.py has no views that follow boxes'),
])
def test_what_does_not_fit_is_said_in_a_line(main, here, capsys, arguments, message):
    assert main([*arguments, '--images', 'photos']) == 2
    error = capsys.readouterr().err
    assert message in error and error.count('\n') == 1


def test_a_broken_photo_is_named(main, here, capsys):
    (here / 'photos/1.png').write_bytes(b'broken')
    assert main(['crops.py', 'vit.safetensors', '--images', 'photos']) == 2
    assert 'photos/1.png cannot be decoded' in capsys.readouterr().err
