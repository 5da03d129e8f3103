"""``--data`` of the dense tasks; that of pretraining is in the tests of tools/train.py."""
from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

from mmdssl.engine.own_data import name_folders, use_data
from mmdssl.errors import InputError

ROOT = Path(__file__).parents[2] / 'configs'


def source(path) -> dict:
    cfg = Config.fromfile(ROOT / 'small/dino.py')
    use_data(cfg, path)
    dataset, sampler = cfg.train_dataloader.dataset, cfg.train_dataloader.sampler
    return {key: dataset.get(key) for key in ('type', 'data_root', 'shards')} | dict(together=sampler.get('shards_together'))


def test_tars_of_all_ways_to_name_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('shards/0.tar', 'shards/1.tar', 'shards/about.json', 'deep/a/2.tar', 'deep/b/3.tar', 'zipped/4.tar.gz', 'mixed/5.tar',
                 'mixed/a/6.jpg'):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    for path, root, shards in (
            ('shards', 'shards', None), ('deep', 'deep', None), ('zipped', 'zipped', None), ('shards/*.tar', 'shards', ['*.tar']),
            ('deep/*/*.tar', 'deep', ['*/*.tar']), ('shards/{0..1}.tar', 'shards', ['{0..1}.tar']), ('*/0.tar', '.', ['*/0.tar']),
            (['shards/0.tar', 'shards/1.tar'], 'shards', ['*.tar']), ('shards/1.tar', 'shards', ['1.tar']),
            (['deep/b/3.tar', 'deep/a/2.tar'], 'deep', ['a/2.tar', 'b/3.tar']),
            (f'{tmp_path}/deep/?/2.tar', f'{tmp_path}/deep', ['?/2.tar']),
            ('zipped/4.tar.gz', 'zipped', ['4.tar.gz']), (['shards/0.tar', f'{tmp_path}/deep/a/2.tar'], '.', sorted(
                ['shards/0.tar', f'{tmp_path}/deep/a/2.tar']))):
        assert source(path) == dict(type='mmdssl.TarImages', data_root=root, shards=shards, together=None)
    for path, root, shards in (('s3://b/tars/*.tar', 's3://b/tars', ['*.tar']), ('https://host/x/{00..11}.tar', 'https://host/x', [
            '{00..11}.tar']), ('gs://b/tars', 'gs://b/tars', None)):
        assert source(path) == dict(type='mmdssl.TarImages', data_root=root, shards=shards, together=16)
    assert source('mixed')['type'] == 'mmdssl.ImageFolder'
    with pytest.raises(InputError, match="--data 'shards/about.json shards/0.tar' does not exist"):
        source(['shards/about.json', 'shards/0.tar'])


def test_coco_with_its_folders_inside_images(tmp_path):
    for part in ('train2017', 'val2017'):
        (tmp_path / 'images' / part).mkdir(parents=True)
    cfg = Config.fromfile(ROOT / 'detection/small_mask-rcnn_coco.py')
    use_data(cfg, str(tmp_path))
    assert [cfg[name].dataset.data_root for name in ('train_dataloader', 'val_dataloader', 'test_dataloader')] == [str(tmp_path)] * 3
    assert cfg.train_dataloader.dataset.data_prefix.img == 'images/train2017'
    assert cfg.val_dataloader.dataset.data_prefix.img == 'images/val2017'
    assert cfg.val_evaluator.ann_file == cfg.test_evaluator.ann_file == f'{tmp_path}/annotations/instances_val2017.json'


def test_ade20k_with_short_names_of_its_folders(tmp_path):
    for kind in ('images', 'annotations'):
        for part in ('train', 'validation'):
            (tmp_path / kind / part).mkdir(parents=True)
    cfg = Config.fromfile(ROOT / 'segmentation/semfpn_vit-small_40k_ade20k.py')
    use_data(cfg, str(tmp_path))
    assert cfg.train_dataloader.dataset.data_prefix == dict(img_path='images/train', seg_map_path='annotations/train')
    assert cfg.val_dataloader.dataset.data_prefix == dict(img_path='images/validation', seg_map_path='annotations/validation')


def test_wrapped_datasets(tmp_path):
    for folder in ('JPEGImages', 'SegmentationClass', 'SegmentationClassAug'):
        (tmp_path / folder).mkdir()
    cfg = Config.fromfile(ROOT / 'segmentation/semfpn_vit-small_40k_voc12.py')
    use_data(cfg, str(tmp_path))
    assert [part.data_root for part in cfg.train_dataloader.dataset.datasets] == [str(tmp_path)] * 2


def test_images_with_masks_of_protocols(tmp_path):
    for kind in ('images', 'annotations'):
        for part in ('train', 'validation'):
            (tmp_path / kind / part).mkdir(parents=True)
    cfg = Config.fromfile(ROOT / 'dense/hummingbird_ade20k.py')
    use_data(cfg, str(tmp_path))
    for dataset, part in ((cfg.test_dataloader.dataset, 'validation'), (cfg.test_cfg.bank.dataset, 'train')):
        assert dataset.data_root == str(tmp_path)
        assert (dataset.images, dataset.masks) == (f'images/{part}', f'annotations/{part}')


def test_folders_of_other_names_are_given_as_options(tmp_path):
    for folder in ('bilder', 'masken', 'gedaechtnis'):
        (tmp_path / folder).mkdir()
    cfg = Config.fromfile(ROOT / 'dense/hummingbird_voc12.py')
    options = {'test_dataloader.dataset.images': 'bilder', 'test_cfg.bank.dataset.images': 'gedaechtnis',
               **{f'{part}.dataset.masks': 'masken' for part in ('test_dataloader', 'test_cfg.bank')},
               'test_dataloader.dataset.size': 96, 'test_dataloader.nothing.images': 'bilder'}
    name_folders(cfg, options)
    use_data(cfg, str(tmp_path))
    for dataset, images in ((cfg.test_dataloader.dataset, 'bilder'), (cfg.test_cfg.bank.dataset, 'gedaechtnis')):
        assert (dataset.data_root, dataset.images, dataset.masks) == (str(tmp_path), images, 'masken')
    assert cfg.test_dataloader.dataset.size == 512 and 'nothing' not in cfg.test_dataloader
    cfg = Config.fromfile(ROOT / 'segmentation/semfpn_vit-small_40k_voc12.py')
    parts = [f'train_dataloader.dataset.datasets.{i}' for i in range(2)] + ['val_dataloader.dataset', 'test_dataloader.dataset']
    name_folders(cfg, {f'{part}.data_prefix.{kind}': folder for part in parts
                       for kind, folder in (('img_path', 'bilder'), ('seg_map_path', 'masken'))})
    use_data(cfg, str(tmp_path))
    assert [part.data_prefix.img_path for part in cfg.train_dataloader.dataset.datasets] == ['bilder'] * 2


def test_davis_and_what_is_missing(tmp_path):
    cfg = Config.fromfile(ROOT / 'video/davis2017.py')
    use_data(cfg, str(tmp_path))
    assert cfg.test_dataloader.dataset.data_root == str(tmp_path)
    with pytest.raises(InputError, match='does not exist'):
        use_data(cfg, str(tmp_path / 'nowhere'))
    with pytest.raises(InputError, match="has no folder 'train2017'"):
        use_data(Config.fromfile(ROOT / 'detection/small_mask-rcnn_coco.py'), str(tmp_path))


def test_the_number_of_classes_follows_the_folder(tmp_path):
    """And its name, so that results are not taken for those of ImageNet; also where a classifier is only tested."""
    root = tmp_path / 'birds'
    for part in ('train', 'validation'):
        for name in ('owl', 'swan', 'wren'):
            (root / part / name).mkdir(parents=True)
    with pytest.raises(InputError, match="has no folder 'val'"):
        use_data(Config.fromfile(ROOT / 'classification/linear_dino.py'), str(root))
    (root / 'validation').rename(root / 'val')
    for config in ('linear_dino', 'finetune_deit_vit-small'):
        cfg = Config.fromfile(ROOT / f'classification/{config}.py')
        use_data(cfg, str(root))
        assert cfg.train_dataloader.dataset.dataset.data_root == f'{root}/train'
        assert cfg.val_dataloader.dataset.data_root == cfg.test_dataloader.dataset.data_root == f'{root}/val'
        assert cfg.model.num_classes == 3 and cfg.default_hooks.record.dataset == 'birds'
    cfg = Config.fromfile(ROOT / 'classification/linear_dino.py')
    cfg.train_dataloader = cfg.val_dataloader = None
    use_data(cfg, str(root))
    assert cfg.model.num_classes == 3 and cfg.test_dataloader.dataset.data_root == f'{root}/val'


def test_a_data_set_of_transfer_keeps_its_classes(tmp_path):
    cfg = Config.fromfile(ROOT / 'classification/transfer_ibot_flowers.py')
    use_data(cfg, str(tmp_path))
    assert cfg.train_dataloader.dataset.dataset.data_root == cfg.val_dataloader.dataset.data_root == str(tmp_path)
    assert cfg.model.num_classes == 102 and cfg.default_hooks.record.dataset == 'flowers'
