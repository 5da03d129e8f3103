"""The commands of docs/own_data.md, on such data; nothing but what a test can wait for is changed."""
from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from own_files import FRUITS, picture, write_clips, write_davis2016, write_fruits, write_masks
from PIL import Image
from processes import load_tool

from mmdssl.checkpoint import save_backbone
from mmdssl.datasets.davis import read_mask
from mmdssl.registry import MODELS

ROOT = Path(__file__).parents[2]
COMMANDS = re.findall(r'```shell\n(.*)\n```', (ROOT / 'docs/own_data.md').read_text())
SMALL = dict(type='mmdssl.VisionTransformer', arch=dict(embed_dim=32, depth=2, num_heads=2), patch_size=8, img_size=64, position='sincos')
QUICK = ['train_dataloader.num_workers=1', 'train_dataloader.batch_size=2']


@pytest.fixture(scope='module')
def own(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('own')
    write_fruits(root / 'fruits')
    write_masks(root / 'masks')
    write_clips(root / 'pets')
    write_davis2016(root / 'davis2016')
    for folder in ('photos', *(f'flowers/{part}/{name}' for part in ('train', 'val') for name in ('rose', 'lily', 'iris'))):
        (root / folder).mkdir(parents=True)
        for number in range(4):
            picture(number)[0].save(root / folder / f'{number}.jpg')
    save_backbone(MODELS.build(SMALL), root / 'backbone.safetensors', SMALL)
    return root


@pytest.fixture
def run(own, monkeypatch, capsys):
    """Function that runs a command and returns its exit code and what it printed."""
    monkeypatch.chdir(own)

    def run(command: str, *more: str) -> tuple[int, str]:
        _, path, config, *arguments = shlex.split(command.replace('CHECKPOINT', 'backbone.safetensors'))
        torch.manual_seed(0)
        code = load_tool(Path(path).stem).main([str(ROOT / config), *arguments, *more])
        return code, ' '.join(''.join(capsys.readouterr()).split())
    return run


def command(name: str) -> str:
    return next(each for each in COMMANDS if name in each)


def test_every_command_is_tested_below():
    assert len(COMMANDS) == 5


@pytest.mark.parametrize(('change', 'expected'), [
    ('--data fotos', "--data 'fotos' does not exist"), ('--data photos/0.jpg', 'photos/0.jpg'),
    ('--data .hidden', "no image below '.hidden'"),
    ('--data photos --classes rose', '--classes names those of objects or masks'), ('--data list.txt', 'do not exist, first')])
def test_mistakes_with_photographs(run, own, change, expected):
    (own / '.hidden').mkdir(exist_ok=True)
    (own / 'list.txt').write_text('photos/0.jpg\nphotos/77.jpg\n')
    code, out = run(command('photos').replace('--data photos', change))
    assert code == 2 and expected in out, out


def test_masks_in_colours_are_recoded(tmp_path, monkeypatch):
    """As the page says: in colours, with smooth edges, as JPEG; the ids come out again, but for some at edges."""
    recode, = re.findall(r'```python\n(.*?)```', (ROOT / 'docs/own_data.md').read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    colours = np.array([(0, 0, 0), *FRUITS.values()], np.uint8)
    write_masks(tmp_path / 'ids', 4)
    write_masks(tmp_path / 'masks', 4, change=lambda ids: colours[ids])
    jpeg = tmp_path / 'masks/masks/photo 1.png'
    Image.open(jpeg).save(jpeg.with_suffix('.jpg'), quality=95, subsampling=0)
    jpeg.unlink()
    exec(recode, {})
    for number, wrong in enumerate((0, 0.01, 0, 0)):
        ids, truth = (read_mask(tmp_path / f'{folder}/masks/photo {number}.png') for folder in ('masks', 'ids'))
        assert (ids != truth).mean() <= wrong


def test_clips_are_scored(run, own):
    options = ['test_dataloader.num_workers=0', 'test_dataloader.dataset.short_side=64', 'test_dataloader.dataset.long_side_step=8']
    code, out = run(command('pets'), '--random', '--work-dir', 'work', '--cfg-options', *options)
    assert code == 0 and 'cat_1' in out and 'dog_1' in out and 'clips: pets/clips, masks: pets/masks' in out, out
    davis = command('pets').replace('pets', 'davis2016')
    code, out = run(davis, '--random', '--work-dir', 'work', '--cfg-options', *options)
    assert code == 2 and '255 is void' in out, out
    code, out = run(davis, '--random', '--work-dir', 'work', '--cfg-options', *options, 'test_dataloader.dataset.binary=True')
    assert code == 0 and 'cat_1' in out, out


@pytest.mark.parametrize(('name', 'found'), [
    ('photos', ['training images │ 4']), ('flowers', ['training images │ 12']),  # before those of other scopes, in one process
    ('fruits', ['training images │ 8', '8 of the 10 images of', 'without an object', 'val: 2 images', '3 classes: apple, pear']),
    ('masks', ['training images │ 10', 'val: 2 images', '4 classes: background, apple, pear, plum'])])
def test_a_dry_run_says_what_was_found_and_leaves_nothing(run, own, name, found):
    if name in ('fruits', 'masks'):
        pytest.importorskip('mmdet' if name == 'fruits' else 'mmseg')
    before = {*own.rglob('*')}
    code, out = run(command(f'--data {name}'), '--cfg-options', *QUICK)
    assert code == 0 and all(each in out for each in found), out
    assert {*own.rglob('*')} == before
