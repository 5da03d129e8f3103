"""Configs of protocols on frozen features."""
from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

from mmdssl.models.backbones.names import backbone_name
from mmdssl.protocols.features import Extractor
from mmdssl.registry import METRICS
from mmdssl.results.published import published_rows
from mmdssl.results.tables import DASH, compare

ROOT = Path(__file__).parents[2] / 'configs'
CONFIGS = {path.stem: cfg for path in sorted((ROOT / 'classification').glob('*.py'))
           if (cfg := Config.fromfile(path)).get('test_cfg', {}).get('type') == 'ProtocolLoop'}


def test_knn_is_that_of_dinos_evaluation():
    cfg = CONFIGS['knn']
    protocol = METRICS.build(cfg.test_evaluator)
    assert (protocol.k, protocol.temperature, protocol.extractor) == ((10, 20, 100, 200), 0.07, Extractor())
    queries, bank = cfg.test_dataloader.dataset, cfg.test_cfg.bank.dataset
    assert (queries.data_root, bank.data_root) == ('data/imagenet/val', 'data/imagenet/train')
    for part in (queries, bank):
        assert (part.resize, part.size, part.get('fraction')) == (256, 224, None)


@pytest.mark.parametrize('name', CONFIGS)
def test_all_share_a_cache_and_record_what_they_measure(name):
    cfg = CONFIGS[name]
    METRICS.build(cfg.test_evaluator)
    assert cfg.test_cfg.cache == 'work_dirs/features'
    assert cfg.default_hooks.record.task and cfg.default_hooks.record.dataset


def test_their_results_are_told_apart_in_tables():
    files = [file for folder in ('classification', 'retrieval') for file in (ROOT / folder).glob('*.py')]
    labels = {}
    for cfg in map(Config.fromfile, files):
        record = cfg.default_hooks.record
        labels[record.task, record.dataset, record.get('framework'), backbone_name(cfg.model.backbone)] = cfg.filename
    assert sorted(labels.values()) == sorted(map(str, files))


@pytest.mark.parametrize('config, row', [
    ('classification/knn', dict(id='dino-res-dino-vit-s-16-knn', method='DINO', metrics=dict(knn_top1=74.5))),
    ('classification/linear_dino', dict(id='dino-res-dino-vit-s-16', method='DINO')),
    ('classification/finetune_mae_vit-base', dict(method='MAE', metrics=dict(top1=83.6))),
    ('classification/logistic_food101', dict(method='BAM', dataset='food101')),
    ('classification/transfer_mocov3_cifar10', dict(method='BAM')),
    ('retrieval/roxford5k', dict(method='DINO', pretrain_data='imagenet-1k', metrics=dict(mAP_medium=41.8, mAP_hard=13.7))),
    ('dense/attention-jaccard_voc12', dict(method='DINO', metrics=dict(jaccard=45.9)))])
def test_results_stand_above_the_published_ones(config, row):
    """Whatever their metrics are called; published rows of transfer are those of BAM's ResNet-50."""
    cfg = Config.fromfile(ROOT / f'{config}.py')
    labels, network = cfg.default_hooks.record, 'resnet50' if 'logistic' in config else backbone_name(cfg.model.backbone)
    section, = compare([dict(task=labels.task, dataset_name=labels.dataset, framework=labels.get('framework'), backbone=network,
                             metrics=dict(jaccard=1.))])
    shown = [line for line in section.rows if not line.ours]
    published = [known for known in published_rows(labels.task, labels.dataset) if row.items() <= known.items()]
    assert published and any(line.cells[0] == row['method'] for line in shown)
    assert all(set(line.cells[2:]) != {DASH} for line in shown)


def test_few_labels_do_not_stand_among_all():
    for name in ('knn_1percent', 'knn_10percent', 'logistic_1percent', 'logistic_10percent'):
        labels = CONFIGS[name].default_hooks.record
        assert labels.task == 'semi-supervised' and not published_rows(labels.task, labels.dataset)


def test_images_with_masks_have_the_published_classes():
    """Also the same ones in the bank, which Hummingbird augments."""
    found = {}
    for path in sorted((ROOT / 'dense').glob('hummingbird_*.py')):
        cfg = Config.fromfile(path)
        queries, bank = cfg.test_dataloader.dataset, cfg.test_cfg.bank.dataset
        assert queries.classes == bank.classes and (queries.size, bank.size, bank.augment, bank.epochs) == (512, 512, True, 2)
        assert 'augment' not in queries
        protocol = METRICS.build(cfg.test_evaluator)
        assert (protocol.k, protocol.temperature, protocol.memory_size) == (30, 0.02, 10240000)
        assert protocol.void == ('own' if path.stem.endswith('ade20k') else 'first')
        found[path.stem.split('_')[1]] = queries.classes
    assert {name: len(classes) for name, classes in found.items()} == dict(voc12=21, ade20k=150, cityscapes=19, cocothings=12, cocostuff=15)
    things, stuff = ([number for ids in found[name].values() for number in ids] for name in ('cocothings', 'cocostuff'))
    assert len(things) == len(set(things)) == 80 and max(things) == 89, 'numbers of COCO less 1'
    assert sorted(stuff) == list(range(91, 182))
