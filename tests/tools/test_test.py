"""Protocols on published checkpoints, by tools/test.py."""
from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from processes import run_tool

from mmdssl.datasets import LabelledFolder
from mmdssl.results.records import read_records

ROOT = Path(__file__).parents[2]
CHECKPOINTS = ROOT / 'tests/golden/checkpoints'
KNN = 'configs/classification/knn.py'
OPTIONS = ['test_dataloader.num_workers=0', 'test_cfg.bank.num_workers=0']
FEW = 'test_evaluator.k=[1,3]'


@pytest.fixture(scope='module')
def data(tmp_path_factory) -> Path:
    """Three classes of 36 px images that differ in their pattern, 6 and 4 of each, and a small backbone's size."""
    root = tmp_path_factory.mktemp('data')
    rng = np.random.default_rng(0)
    for part, each in (('train', 6), ('val', 4)):
        for i, name in enumerate(('dots', 'lines', 'noise')):
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(each):
                pixels = rng.integers(0, 256, (36, 36, 3), dtype=np.uint8) // 3
                pixels[::2 + i, :: (1, 5, 36)[i]] += 150
                Image.fromarray(pixels).save(folder / f'{number}.png')
    return root


@pytest.fixture
def main(load_tool, tmp_path, monkeypatch, capsys):
    """Function that runs the tool in this process, in an empty folder; returns what it said of an error."""
    monkeypatch.chdir(tmp_path)

    def run(*args, options=(FEW, ), code=0):
        assert load_tool('test').main([str(ROOT / KNN), *map(str, args), '--cfg-options', *OPTIONS, *options]) == code
        return capsys.readouterr().err.strip()
    return run


def records(work_dir='work_dirs/knn'):
    return read_records(Path(work_dir, 'results.jsonl'))


@pytest.mark.parametrize('name', ['ibot_full', 'pqcl_teacher', 'bam_teacher', 'mae_full', 'selfpatch_full'])
def test_knn_of_published_layouts(main, data, name):
    main(CHECKPOINTS / f'{name}.pth', '--data', data)
    record, = records()
    assert record['task'] == 'knn' and record['dataset_name'] == data.name
    assert record['backbone'].startswith('vit-') and record['pretrained']['path'].endswith(f'{name}.pth')
    assert set(record['metrics']) == {'knn1_top1', 'knn3_top1'} and record['metrics']['knn1_top1'] > 50


def test_a_linear_probe_of_a_published_layout(load_tool, main, data):
    probe = KNN.replace('knn', 'linear_features')
    arguments = [str(ROOT / probe), str(CHECKPOINTS / 'bam_teacher.pth'), '--data', str(data), '--cfg-options', *OPTIONS]
    assert load_tool('test').main(arguments) == 0
    record, = records('work_dirs/linear_features')
    assert record['task'] == 'linear' and record['metrics']['linear_top1'] > 50
    main(CHECKPOINTS / 'bam_teacher.pth', '--data', data)
    assert len(list(Path('work_dirs/features').iterdir())) == 2  # which both have used


def test_two_processes_a_cache_and_none_give_the_same(main, data, tmp_path):
    main(CHECKPOINTS / 'dino_full.pth', '--data', data)
    main(CHECKPOINTS / 'dino_full.pth', '--data', data)
    main(CHECKPOINTS / 'dino_full.pth', '--data', data, options=(FEW, 'test_cfg.cache=None'))
    main(CHECKPOINTS / 'dino_full.pth', '--data', data, '--random')
    assert len(list(Path('work_dirs/features').iterdir())) == 4
    arguments = [ROOT / KNN, CHECKPOINTS / 'dino_full.pth', '--data', data, '--work-dir', tmp_path / 'two', '--cfg-options', *OPTIONS, FEW]
    run_tool('test', *arguments, f'test_cfg.cache={tmp_path}/of_two', processes=2)
    first, cached, without, random = records()
    two, = records(tmp_path / 'two')
    for record in (cached, without, two):
        assert record['metrics'] == first['metrics'] and record['checkpoint'] == first['checkpoint']
    assert random['checkpoint'] != first['checkpoint']


def test_images_are_as_large_as_those_of_pretraining(main, data, monkeypatch):
    sizes = []
    original = LabelledFolder.__init__
    monkeypatch.setattr(LabelledFolder, '__init__', lambda self, data_root, resize, size: sizes.append((resize, size)) or original(
        self, data_root, resize, size))
    main(CHECKPOINTS / 'dino_full.pth', '--data', data)
    assert sizes == [(27, 24)] * 2  # 224 of 256 in proportion


@pytest.mark.parametrize('change, options, message', [
    (lambda data: (data / 'train/lines').rename(data / 'lines'), (FEW, ), r'of the queries .* differ \(the bank lacks lines\)'),
    (lambda data: None, (), 'KNNMetric has k=200, but the bank has 18 images: lower its k, or take more images'),
    (lambda data: [file.unlink() for file in (data / 'val/dots').iterdir()], (FEW, ), "no image below '.*val/dots'"),
    (lambda data: [shutil.rmtree(folder) for folder in (data / 'val').iterdir()], (FEW, ), "no class folders in '.*val'"),
    (lambda data: [shutil.rmtree(data / part / name) for part in ('train', 'val') for name in ('dots', 'lines')], (FEW, ),
     "train' has a single class, noise, which nothing can be mistaken for"),
    (lambda data: shutil.rmtree(data / 'val'), (FEW, ), "--data '.*' has no folder 'val': it needs train/ and val/"),
    (lambda data: None, (FEW, 'model.backbone.arch.embed_dim=32'), 'does not fit the backbone: embed_dim is 64 in the file and 32'),
    (lambda data: None, (FEW, 'test_evaluator.extractor.blocks=3'), 'the extractor reads blocks=3, and the backbone has 2'),
])
def test_bad_input_is_one_sentence(main, data, tmp_path, change, options, message):
    copy = shutil.copytree(data, tmp_path / 'copy')
    change(copy)
    error = main(CHECKPOINTS / 'dino_full.pth', '--data', copy, options=options, code=2)
    assert error.startswith('error: ') and '\n' not in error
    assert re.search(message, error), error


@pytest.mark.parametrize('config, arguments, message', [
    ('small_hummingbird_world', [CHECKPOINTS / 'dino_full.pth'], "data_root 'data/sample_world/ade20k' is not a folder: put"),
    ('small_hummingbird_world', [CHECKPOINTS / 'dino_full.pth', '--data', '.'], "'.' has no folder 'bilder', which test_dataloader"),
    ('depth_nyu', ['backbone.safetensors'], r'run `python tools/train.py \S+depth_nyu.py --pretrained backbone.safetensors`'),
    ('small_linear-leopart_world', ['backbone.safetensors'], r'run `python tools/train.py \S+ --pretrained backbone.safetensors`'),
])
def test_what_the_configs_of_dense_protocols_need_is_said(load_tool, tmp_path, monkeypatch, capsys, config, arguments, message):
    monkeypatch.chdir(tmp_path)
    options = ['--cfg-options', 'test_dataloader.dataset.images=bilder'] if '--data' in arguments else []
    assert load_tool('test').main([str(ROOT / f'configs/dense/{config}.py'), *map(str, arguments), *options]) == 2
    error = capsys.readouterr().err.strip()
    assert re.search(message, error) and '\n' not in error, error


def test_names_need_not_be_utf8(main, data, tmp_path):
    copy = shutil.copytree(data, tmp_path / 'copy')
    for part in ('train', 'val'):
        os.rename(copy / part / 'dots', os.fsencode(copy / part) + b'/caf\xe9')
    (copy / 'val' / os.fsdecode(b'caf\xe9') / '0.png').write_bytes(b'none')  # whose name is logged
    errors = main(CHECKPOINTS / 'dino_full.pth', '--data', copy)
    assert 'Traceback' not in errors and records()[0]['metrics']['knn1_top1'] > 50


def test_a_full_disk_is_one_sentence(main, data, monkeypatch):
    monkeypatch.setattr('tempfile.TemporaryFile', lambda **kwargs: open('/dev/full', 'wb', buffering=0))
    error = main(CHECKPOINTS / 'dino_full.pth', '--data', data, code=2)
    assert error == "error: no space left on device ('work_dirs/features'): the disk is full, make room"
