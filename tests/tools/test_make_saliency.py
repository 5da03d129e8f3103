from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmdssl.checkpoint import save_backbone
from mmdssl.registry import MODELS


@pytest.fixture(scope='module')
def main(load_tool):
    return load_tool('make_saliency').main


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A folder, now the current one, with four photos of a bright square in two folders, one of them broken."""
    monkeypatch.chdir(tmp_path)
    for i in range(4):
        pixels = np.random.default_rng(i).integers(0, 40, (48, 64, 3), dtype=np.uint8)
        pixels[16:32, 20:40] += 200
        file = tmp_path / f'photos/{i % 2}/{i}.png'
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    (tmp_path / 'photos/1/3.png').write_bytes(b'broken')
    return tmp_path


def masks(here: Path, folder: str = 'photos_saliency') -> dict[str, np.ndarray]:
    return {str(path.relative_to(here / folder)): np.array(Image.open(path)) for path in sorted((here / folder).rglob('*'))
            if path.is_file()}


@pytest.mark.parametrize('workers', [0, 2])
def test_masks_by_robust_background_detection(main, here, capsys, workers):
    pytest.importorskip('skimage')
    assert main(['photos', '--workers', str(workers)]) == 0
    assert 'photos_saliency: 4 new masks of 4 images; 1 images cannot be decoded and have an empty one' in capsys.readouterr().out
    found = masks(here)
    assert list(found) == ['0/0.png.png', '0/2.png.png', '1/1.png.png', '1/3.png.png']
    for name in list(found)[:3]:
        assert found[name].shape == (48, 64) and found[name].dtype == np.uint8
        assert found[name][18:30, 22:38].mean() > 180 > 60 > found[name][:10].mean()


def test_masks_that_exist_are_kept(main, here, capsys):
    pytest.importorskip('skimage')
    main(['photos', '--out', 'masks', '--workers', '0'])
    Image.new('L', (3, 3), 7).save(here / 'masks/0/0.png.png')
    (here / 'masks/0/2.png.png').unlink()
    capsys.readouterr()
    assert main(['photos', '--out', 'masks', '--workers', '0']) == 0
    assert 'masks: 1 new masks of 4 images' in capsys.readouterr().out
    assert (masks(here, 'masks')['0/0.png.png'] == 7).all() and masks(here, 'masks')['0/2.png.png'].shape == (48, 64)


def test_masks_by_attention(main, here, tiny_backbone):
    save_backbone(MODELS.build(tiny_backbone), here / 'vit.safetensors', tiny_backbone)
    assert main(['photos', '--checkpoint', 'vit.safetensors', '--workers', '0', '--mass', '0.5']) == 0
    found = masks(here)
    for name in list(found)[:3]:
        patches = found[name][6::12, 8::16]  # 4 x 4 of them
        assert found[name].shape == (48, 64) and set(np.unique(found[name])) == {0, 255}
        assert (patches.repeat(12, 0).repeat(16, 1) == found[name]).all() and 0 < (patches > 0).sum() < 12


@pytest.mark.parametrize('arguments, message', [
    (['nowhere'], "'nowhere' is not a folder"),
    (['photos', '--mass', '1.5'], '--mass 1.5 must be between 0 and 1'),
    (['photos', '--checkpoint', 'none.pth'], 'none.pth'),
])
def test_what_does_not_fit_is_said_in_a_line(main, here, capsys, arguments, message):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.count('\n') == 1
