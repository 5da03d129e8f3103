"""From a tokenizer to BEiT and to pictures of what it has learned, by the commands; what must come first is said."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CONFIGS = Path(__file__).parents[2] / 'configs/small'
TINY = ['train_dataloader.batch_size=4', 'train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False',
        'train_cfg.max_epochs=2', 'visualizer=None']
VIT = ['model.backbone.arch.embed_dim=16', 'model.backbone.arch.depth=1']
TOKENIZER = ['num_codes=12', 'width=16']


@pytest.fixture(scope='module')
def run(load_tool):
    """Function that runs a tool with a small config on the photos: ``run('train', 'mae', *arguments, options=[...])``."""
    tools = {name: load_tool(name) for name in ('train', 'draw_reconstruction')}

    def run(tool: str, config: str, *arguments: str, options: list[str]) -> int:
        return tools[tool].main([str(CONFIGS / f'{config}.py'), *arguments, '--cfg-options', *options])
    return run


@pytest.fixture(scope='module')
def here(tmp_path_factory):
    """A folder, the current one in this module, with eight photos."""
    folder = tmp_path_factory.mktemp('here')
    (folder / 'photos').mkdir()
    for i in range(8):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (70, 90, 3), dtype=np.uint8)).save(folder / f'photos/{i}.png')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


def test_tokenizer_then_beit_then_pictures(run, here, capsys):
    beit = [*TINY, *VIT, *(f'model.tokenizer.{option}' for option in TOKENIZER)]
    assert run('train', 'beit_dvae', '--data', 'photos', '--dry-run', options=beit) == 0
    assert 'train the tokenizer' in capsys.readouterr().out
    assert run('train', 'beit_dvae', '--data', 'photos', options=beit) == 2
    assert 'is not there: train it first with tools/train.py' in capsys.readouterr().err

    assert run('train', 'beit_tokenizer', '--data', 'photos', options=[*TINY, *(f'model.backbone.{option}' for option in TOKENIZER)]) == 0
    assert Path('work_dirs/beit_tokenizer/backbone.safetensors').is_file()
    assert run('train', 'beit_dvae', '--data', 'photos', options=beit) == 0
    checkpoint = 'work_dirs/beit_dvae/epoch_2.pth'
    capsys.readouterr()
    assert run('draw_reconstruction', 'beit_dvae', checkpoint, '--images', 'photos', '--number', '3', '--out', 'a.png', options=beit) == 0
    assert 'a.png: 3 photos' in capsys.readouterr().out
    assert np.array(Image.open('a.png')).shape == (3 * 66 + 2, 4 * 66 + 2, 3)


@pytest.mark.parametrize('arguments, message', [
    (['mae', 'none.pth', '--images', 'photos'], 'none.pth'),
    (['mae', 'work_dirs/beit_dvae/epoch_2.pth', '--images', 'photos'], 'is of another network than'),
    (['mae', 'work_dirs/beit_tokenizer/backbone.safetensors', '--images', 'photos'], 'backbone.safetensors'),
    (['mae', 'none.pth', '--images', 'photos', '--number', '0'], '--number 0 must be 1 or more'),
    (['dino', 'none.pth', '--images', 'photos'], 'trains DINO, which draws nothing: give a config of MAE, MaskFeat or BEiT'),
])
def test_what_does_not_fit_is_said_in_a_line(run, here, capsys, arguments, message):
    assert run('draw_reconstruction', *arguments, options=VIT) == 2
    error = capsys.readouterr().err
    assert error.startswith('error: ') and message in error and len(error.splitlines()) == 1
