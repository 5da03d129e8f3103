"""The command line of ``tools/draw.py``: of anybody's weights, of a run, and of what comes from a config."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from golden_files import GOLDEN
from PIL import Image

from mmdssl.checkpoint import save_backbone
from mmdssl.registry import MODELS

CONFIGS = Path(__file__).parents[2] / 'configs/small'
TINY = ['train_dataloader.batch_size=4', 'train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False',
        'train_cfg.max_epochs=2', 'visualizer=None', 'model.backbone.arch.embed_dim=16', 'model.backbone.arch.depth=1']
NETWORKS = dict(
    vit=dict(type='mmdssl.VisionTransformer', arch=dict(embed_dim=16, depth=1, num_heads=2), patch_size=8, img_size=32),
    resnet=dict(type='mmdssl.TimmBackbone', name='resnet18', stem_stride=2, model_args=dict(layers=(1, 1, 1, 1), channels=(8, 8, 8, 8))))
OF_ANY = ['attention', 'pca', 'neighbours', 'patches', 'matches']


@pytest.fixture(scope='module')
def main(load_tool):
    return load_tool('draw').main


@pytest.fixture(scope='module')
def here(tmp_path_factory, load_tool):
    """A folder, the current one in this module, with photos, weights and the runs of two methods."""
    folder = tmp_path_factory.mktemp('here')
    (folder / 'photos').mkdir()
    for i in range(8):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (70, 90, 3), dtype=np.uint8)).save(folder / f'photos/{i}.png')
    for name, config in NETWORKS.items():
        save_backbone(MODELS.build(config), folder / f'{name}.safetensors', config)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ('mae', 'pqcl'):
            head = ['model.head.num_prototypes=16', 'model.head.hidden_dim=16', 'model.head.bottleneck_dim=8'] if name == 'pqcl' else []
            assert load_tool('train').main([str(CONFIGS / f'{name}.py'), '--data', 'photos', '--work-dir', name,
                                            '--cfg-options', *TINY, *head]) == 0
        yield folder


def drawn(folder: str) -> list[str]:
    for path in Path(folder).iterdir():
        picture = np.array(Image.open(path))
        assert picture.shape[2] == 3 and picture.shape[1] <= 1200 and picture.std() > 1
    return sorted(path.stem for path in Path(folder).iterdir())


@pytest.mark.parametrize('name', ['vit', 'resnet'])
def test_any_backbone_has_its_pictures(main, here, capsys, name):
    assert main([f'{name}.safetensors', '--images', 'photos', '--number', '2', '--out', name]) == 0
    assert drawn(name) == sorted(OF_ANY)
    assert 'not drawn: crops, boxes, reconstruction;' in capsys.readouterr().out


@pytest.mark.parametrize('file', ['dino_full.pth', 'mae_full.pth'])
def test_published_weights_are_as_good_as_ours(main, here, file):
    assert main([str(GOLDEN / 'checkpoints' / file), '--images', 'photos', '--out', file, '--what', 'attention', 'pca']) == 0
    assert drawn(file) == ['attention', 'pca']


def test_a_run_brings_its_views_and_its_decoder(main, here):
    assert main(['pqcl/epoch_2.pth', '--images', 'photos', '--number', '3', '--out', 'a']) == 0
    assert drawn('a') == sorted([*OF_ANY, 'boxes', 'crops'])
    assert main(['mae/epoch_2.pth', '--images', 'photos/1.png', 'photos/3.png', '--what', 'reconstruction', '--out', 'b']) == 0
    assert drawn('b') == ['reconstruction']


def test_the_same_seed_gives_the_same_crops(main, here):
    found = {}
    for name, seed in (('c', '0'), ('d', '0'), ('e', '1')):
        assert main(['pqcl/epoch_2.pth', '--images', 'photos', '--what', 'crops', '--out', name, '--seed', seed]) == 0
        found[name] = np.array(Image.open(f'{name}/crops.png'))
    assert np.array_equal(found['c'], found['d']) and (found['c'] != found['e']).any()


def test_crops_follow_what_contrastive_crop_looks_at(main, here):
    """With a box around nothing but the brightest place, no crop is where crops of the whole image are."""
    for name, threshold in (('f', 0.99), ('g', 0.0)):
        assert main(['vit.safetensors', '--config', str(CONFIGS / 'bam_contrastive-crop.py'), '--images', 'photos', '--what', 'crops',
                     '--out', name, '--cfg-options', 'default_hooks.contrastive_crop.size=32',
                     f'default_hooks.contrastive_crop.threshold={threshold}']) == 0
    first, second = (np.array(Image.open(f'{name}/crops.png')) for name in 'fg')
    assert first.shape == second.shape and (first != second).any()
    assert (first == (0, 255, 0)).all(-1).any(), 'the box'


def test_matches_are_of_the_views_of_a_config(main, here):
    assert main(['vit.safetensors', '--config', str(CONFIGS / 'densecl_vit.py'), '--images', 'photos', '--what', 'matches', '--out', 'h',
                 '--grid', '3', '--lines', '4']) == 0
    assert drawn('h') == ['matches']


@pytest.mark.parametrize('arguments, message', [
    (['none.pth'], 'none.pth'),
    (['vit.safetensors', '--images', 'gone'], "--images 'gone' does not exist"),
    (['vit.safetensors', '--number', '0'], '--number 0 must be 1 or more'),
    (['vit.safetensors', '--lines', '-1'], '--lines -1 must be 1 or more'),
    (['vit.safetensors', '--patch', '2', '0'], 'be from 0 to 1'),
    (['vit.safetensors', '--out', 'vit.safetensors'], "--out 'vit.safetensors' is a file"),
    (['vit.safetensors', '--what', 'boxes'], 'boxes: positional queries are those of PQCL'),
    (['vit.safetensors', '--what', 'crops'], 'crops: views are needed'),
    (['vit.safetensors', '--what', 'neighbours', '--images', 'photos/1.png'], 'neighbours: neighbours are looked for among other images'),
    (['vit.safetensors', '--config', 'none.py'], "config 'none.py' does not exist"),
    (['vit.safetensors', '--cfg-options', 'a.b=1'], '--cfg-options has no config to change'),
    (['vit.safetensors', '--config', str(CONFIGS / 'mae.py'), '--what', 'reconstruction'], 'vit.safetensors is no checkpoint of a run'),
    (['mae/backbone.safetensors', '--what', 'reconstruction'], 'give the epoch_N.pth of such a run'),
    (['pqcl/epoch_2.pth', '--config', str(CONFIGS / 'mae.py'), '--what', 'reconstruction'], 'is of another network than'),
    (['mae/epoch_2.pth', '--what', 'matches'], 'matches: two views of an image are compared'),
    (['mae/epoch_2.pth', '--cfg-options', 'model.no=1'], 'model.no'),
    (['foreign.pth', '--what', 'crops'], "whose views name 'os.system', which is no transform of ours: give it as --config"),
])
def test_what_does_not_fit_is_said_in_a_line(main, here, capsys, arguments, message):
    if 'foreign.pth' in arguments:
        change_views('mae/epoch_2.pth', 'foreign.pth')
    images = [] if '--images' in arguments else ['--images', 'photos']
    assert main([arguments[0], *images, *arguments[1:]]) == 2
    error = capsys.readouterr().err
    assert error.startswith('error: ') and message in error and error.count('\n') == 1


def change_views(source: str, target: str) -> None:
    """A checkpoint that names something else than a transform."""
    content = torch.load(source, weights_only=False)
    content['meta']['cfg'] = content['meta']['cfg'].replace('"CropViews"', '"os.system"')
    torch.save(content, target)


def test_a_broken_photo_is_named_and_left_out(main, here, capsys, tmp_path):
    (tmp_path / 'broken.png').write_bytes(b'broken')
    assert main(['vit.safetensors', '--images', 'photos', str(tmp_path), '--what', 'pca', '--out', 'i']) == 0
    assert f'{tmp_path}/broken.png cannot be decoded, and is left out' in capsys.readouterr().out
    assert main(['vit.safetensors', '--images', str(tmp_path), '--what', 'pca', '--out', 'i']) == 2
    assert 'none of the 1 images can be decoded' in capsys.readouterr().err
