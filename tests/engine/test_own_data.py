"""``--data`` and ``--classes`` of the dense tasks; ``--data`` of pretraining is in the tests of tools/train.py."""
from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from own_files import write_clips, write_davis2016, write_fruits, write_masks
from PIL import Image
from pycocotools.coco import COCO

from mmdssl.datasets.checks import plain_datasets, unused_images
from mmdssl.engine import own_config
from mmdssl.engine.own_data import name_folders, use_data
from mmdssl.errors import InputError
from mmdssl.registry import DATASETS

ROOT = Path(__file__).parents[2] / 'configs'


def source(path) -> dict:
    cfg = Config.fromfile(ROOT / 'small/dino.py')
    use_data(cfg, path)
    dataset, sampler = cfg.train_dataloader.dataset, cfg.train_dataloader.sampler
    return {key: dataset.get(key) for key in ('type', 'data_root', 'shards')} | dict(together=sampler.get('shards_together'))


def test_tars_of_all_ways_to_name_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('shards/0.tar', 'shards/1.tar', 'shards/about.json', 'deep/a/2.tar', 'deep/b/3.tar', 'zipped/4.tar.gz', 'mixed/5.tar',
                 'mixed/a/6.jpg', 'odd/x[1].tar'):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    for path, root, shards in (
            ('shards', 'shards', None), ('deep', 'deep', None), ('zipped', 'zipped', None), ('shards/*.tar', 'shards', ['*.tar']),
            ('deep/*/*.tar', 'deep', ['*/*.tar']), ('shards/{0..1}.tar', 'shards', ['{0..1}.tar']), ('*/0.tar', '.', ['*/0.tar']),
            (['shards/0.tar', 'shards/1.tar'], 'shards', ['*.tar']), ('shards/1.tar', 'shards', ['1.tar']),
            (['deep/b/3.tar', 'deep/a/2.tar'], 'deep', ['a/2.tar', 'b/3.tar']),
            (f'{tmp_path}/deep/?/2.tar', f'{tmp_path}/deep', ['?/2.tar']),
            ('zipped/4.tar.gz', 'zipped', ['4.tar.gz']), ('odd/x[1].tar', 'odd', ['x[[]1].tar']),
            (['shards/0.tar', f'{tmp_path}/deep/a/2.tar'], '.', sorted(
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
        write_fruits(tmp_path, f'annotations/instances_{part}.json', f'images/{part}', range(2))
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
    (tmp_path / 'ImageSets').mkdir()
    use_data(cfg, str(tmp_path))
    assert cfg.test_dataloader.dataset.data_root == str(tmp_path)
    with pytest.raises(InputError, match='does not exist'):
        use_data(cfg, str(tmp_path / 'nowhere'))
    (tmp_path / 'images').mkdir()
    cfg = Config.fromfile(ROOT / 'segmentation/semfpn_vit-small_40k_voc12.py')
    place = 'train_dataloader.dataset.datasets.0.data_prefix.img_path'
    with pytest.raises(InputError, match=f"has no folder 'JPEGImages', which {place}"):
        own_config.existing(str(tmp_path), 'JPEGImages', place)


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


DETECTION, SEGMENTATION, VIDEO = 'detection/small_cascade-mask-rcnn_coco', 'segmentation/small_semfpn_camvid', 'video/small_davis2017_world'


def applied(config: str, root: Path, tmp_path: Path, **arguments) -> tuple[Config, str]:
    cfg = Config.fromfile(ROOT / f'{config}.py')
    return cfg, '\n'.join(use_data(cfg, str(root), scratch=tmp_path / 'made', **arguments))


def test_a_file_of_three_fruits_is_found_and_split(tmp_path):
    root = write_fruits(tmp_path / 'fruits')
    cfg, said = applied(DETECTION, root, tmp_path)
    parts = [json.loads(Path(cfg[f'{part}_dataloader'].dataset.ann_file).read_text()) for part in ('train', 'val', 'test')]
    assert [[image['id'] for image in part['images']] for part in parts] == [[0, 1, 2, 3, 5, 6, 7, 8, 10, 11], [4, 9], [4, 9]]
    assert all({each['image_id'] for each in part['annotations']} <= {image['id'] for image in part['images']} for part in parts)
    assert cfg.train_dataloader.dataset.data_prefix.img == str(root / 'images')
    assert cfg.val_evaluator.ann_file == cfg.val_dataloader.dataset.ann_file
    assert all(cfg[f'{part}_dataloader'].dataset.metainfo.classes == ('apple', 'pear', 'plum') for part in ('train', 'val', 'test'))
    roi_head = cfg.model.roi_head
    assert [head.num_classes for head in (*roi_head.bbox_head, roi_head.mask_head)] == [3] * 4
    assert cfg.default_hooks.record.dataset == 'fruits' and '3 classes: apple, pear, plum' in said and 'every 5th image validates' in said
    assert applied(DETECTION, root / 'fruits.json', tmp_path)[0].model.roi_head.mask_head.num_classes == 3


@pytest.mark.parametrize(('train', 'val', 'images'), [
    ('my_train.json', 'my-test.json', 'images'), ('a.json', 'b_valid.json', 'photos'),
    ('train/_annotations.coco.json', 'valid/_annotations.coco.json', '')])
def test_one_file_per_split_of_any_name(tmp_path, train, val, images):
    """Roboflow puts images beside their file."""
    root = tmp_path / 'fruits'
    for file, numbers in ((train, range(4)), (val, range(4, 6))):
        write_fruits(root, file, images or str(Path(file).parent), numbers)
    cfg, _ = applied(DETECTION, root, tmp_path, classes=['plum', 'apple'])
    assert cfg.train_dataloader.dataset.ann_file == str(root / train) and cfg.val_evaluator.ann_file == str(root / val)
    assert cfg.train_dataloader.dataset.metainfo.classes == ('apple', 'plum') and cfg.model.roi_head.mask_head.num_classes == 2


def test_files_without_a_telling_name_are_named_by_options(tmp_path):
    root = tmp_path / 'fruits'
    for file in ('a.json', 'b.json'):
        write_fruits(root, file, 'somewhere/deep/inside')
    options = {f'{part}_dataloader.dataset.ann_file': f'{name}.json' for part, name in zip(('train', 'val'), 'ab')}
    with pytest.raises(InputError, match='is not in .* or its folders: .* train_dataloader.dataset.data_prefix.img=FOLDER'):
        applied(DETECTION, root, tmp_path, options=options)
    options |= {f'{part}_dataloader.dataset.data_prefix.img': 'somewhere/deep/inside' for part in ('train', 'val')}
    cfg, _ = applied(DETECTION, root, tmp_path, options=options)
    assert [Path(cfg[f'{part}_dataloader'].dataset.ann_file).name for part in ('train', 'val')] == ['a.json', 'b.json']
    assert cfg.val_dataloader.dataset.data_prefix.img == str(root / 'somewhere/deep/inside')


def test_a_folder_of_images_and_masks(tmp_path):
    """Of a config with 11 classes, the number 11 for void, and other folders."""
    root = write_masks(tmp_path / 'fruits', images='photos', masks='labels', suffix='.jpg', mask_suffix='_mask.png')
    Image.new('RGB', (8, 8)).save(root / 'photos/nobody labelled this.jpg')
    cfg, said = applied(SEGMENTATION, root, tmp_path, classes=['background', 'apple', 'pear', 'plum'])
    train, val = cfg.train_dataloader.dataset, cfg.val_dataloader.dataset
    assert train.data_prefix == dict(img_path='photos', seg_map_path='labels')
    assert (train.img_suffix, train.seg_map_suffix) == ('.jpg', '_mask.png')
    names = [Path(dataset.ann_file).read_text().splitlines() for dataset in (train, val)]
    assert [len(part) for part in names] == [10, 2] and not set(names[0]) & set(names[1])
    labels = [step for step in train.pipeline if step.type == 'mmdssl.LoadLabelMap']
    assert labels == [dict(type='mmdssl.LoadLabelMap', num_classes=4, reduce_zero_label=False, binary=False)]
    assert (cfg.model.decode_head.num_classes, cfg.model.data_preprocessor.seg_pad_val) == (4, 255)
    assert 'ignore_index' not in {**cfg.model.decode_head, **cfg.val_evaluator} and '1 more have no mask' in said
    assert not any('ignore_index' in step for step in train.pipeline)


def test_masks_with_parts_are_those_of_protocols_too(tmp_path):
    root = tmp_path / 'fruits'
    for part in ('train', 'valid'):
        write_masks(root, 3, f'{part}/images', f'{part}/masks')
    (root / 'classes.txt').write_text('void\napple\npear\nplum\n')
    for config in ('dense/hummingbird_ade20k', 'dense/linear-leopart_ade20k'):
        cfg, said = applied(config, root, tmp_path)
        datasets = [loader.dataset for _, loader in own_config.parts(cfg)]
        assert {dataset.images for dataset in datasets} == {'train/images', 'valid/images'}
        assert all(list(dataset.classes) == ['apple', 'pear', 'plum'] and dataset.reduce_zero_label for dataset in datasets)
        assert '0 is not counted' in said and cfg.model.get('num_classes', 3) == 3


def test_black_and_white_masks_of_two_classes_are_recoded(tmp_path):
    root = write_masks(tmp_path / 'fruits', change=lambda ids: (255 * (ids > 0)).astype(np.uint8))
    cfg, said = applied(SEGMENTATION, root, tmp_path, classes=['background', 'fruit'])
    assert cfg.train_dataloader.dataset.pipeline[1].binary and '255 is read as 1' in said
    results = DATASETS.build(dict(type='mmdssl.SegmentedImages', data_root=str(root), images='images', masks='masks', image_suffix='.png',
                                  classes=['background', 'fruit'], binary=True, size=16))[0]
    assert set(results['mask'].unique().tolist()) == {0, 1}


def test_void_of_a_part_without_the_second_class_is_no_class(tmp_path):
    """Masks of all parts decide together whether 255 is void."""
    void = write_masks(tmp_path / 'own', 3, 'train/images', 'train/masks', change=lambda ids: np.uint8([0, 1, 255, 255])[ids])
    write_masks(tmp_path / 'own', 3, 'val/images', 'val/masks', change=lambda ids: np.uint8([0, 255, 255, 255])[ids])
    cfg, said = applied(SEGMENTATION, void, tmp_path, classes=['background', 'fruit'])
    assert not cfg.train_dataloader.dataset.pipeline[1].binary and 'read as 1' not in said


def test_a_mask_with_ids_is_not_black_and_white(tmp_path):
    root = write_masks(tmp_path / 'own', 2)
    images = DATASETS.build(dict(type='mmdssl.SegmentedImages', data_root=str(root), images='images', masks='masks', image_suffix='.png',
                                 classes=['background', 'fruit'], binary=True, size=16))
    with pytest.raises(InputError, match='levels 1, 2.* beside 0, and masks of black and white have 0 and 255 alone'):
        images[0]


@pytest.mark.parametrize(('write', 'expected'), [
    (write_clips, dict(split=None, frames='clips', masks='masks')), (write_davis2016, dict(year='480p'))])
def test_clips(tmp_path, write, expected):
    cfg, _ = applied(VIDEO, write(tmp_path / 'pets'), tmp_path)
    dataset = cfg.test_dataloader.dataset
    assert {key: dataset[key] for key in expected} == expected
    videos = DATASETS.build(dict(dataset, type='mmdssl.DAVIS', binary=write is write_davis2016))
    assert [videos.get_data_info(i)['name'] for i in range(len(videos))] == ['cat', 'dog']
    assert set(videos[0]['first_mask'].unique().tolist()) == {0, 1}


def three(change: Callable) -> Callable:
    return lambda root: write_fruits(root, change=change)


def test_classes_are_in_the_order_by_which_they_are_numbered(tmp_path):
    """That of the file, whatever that of their ids or of --classes."""
    root = write_fruits(tmp_path / 'own', change=lambda coco: coco['categories'].reverse())
    cfg, _ = applied(DETECTION, root, tmp_path, classes=['apple', 'plum'])
    dataset = cfg.train_dataloader.dataset
    coco = COCO(dataset.ann_file)
    numbered = [coco.loadCats(each)[0]['name'] for each in coco.getCatIds(catNms=dataset.metainfo.classes)]
    assert list(dataset.metainfo.classes) == numbered == ['plum', 'apple']


def test_boxes_alone_are_trained_without_masks(tmp_path):
    root = write_fruits(tmp_path / 'own', change=lambda coco: [each.pop('segmentation') for each in coco['annotations']])
    cfg, said = applied('detection/small_mask-rcnn_coco', root, tmp_path)
    assert cfg.model.roi_head.mask_head is None and 'boxes alone' in said
    assert not any(step.get('with_mask') for part in ('train', 'val', 'test') for step in cfg[f'{part}_dataloader'].dataset.pipeline)
    assert cfg.val_evaluator.metric == cfg.test_evaluator.metric == 'bbox' and cfg.default_hooks.record.framework == 'faster-rcnn-small'


@pytest.mark.parametrize(('config', 'write', 'genuine'), [
    ('detection/small_mask-rcnn_coco', lambda root: [write_fruits(
        root, f'annotations/instances_{part}2017.json', f'{part}2017', range(2), change=eighty) for part in ('train', 'val')], 2),
    ('segmentation/semfpn_vit-small_40k_ade20k', lambda root: [write_masks(
        root, 2, f'images/{part}', f'annotations/{part}', suffix='.jpg') for part in ('training', 'validation')], 2),
    ('dense/hummingbird_ade20k', lambda root: [write_masks(
        root, 2, f'images/{part}', f'annotations/{part}', suffix='.jpg') for part in ('training', 'validation')], 2)])
def test_own_data_laid_out_as_those_of_the_config_have_their_own_name(tmp_path, monkeypatch, config, write, genuine):
    write(tmp_path / 'garden')
    name = Config.fromfile(ROOT / f'{config}.py').default_hooks.record.dataset
    assert applied(config, tmp_path / 'garden', tmp_path)[0].default_hooks.record.dataset == 'garden'
    monkeypatch.setitem(own_config.EVALUATED, name, genuine)
    assert applied(config, tmp_path / 'garden', tmp_path)[0].default_hooks.record.dataset == name


@pytest.mark.parametrize(('config', 'listed', 'genuine'), [
    ('dense/lost_voc12', 'ImageSets/Main/trainval.txt', 11540), ('dense/lost_voc07', 'ImageSets/Main/trainval.txt', 5011),
    ('dense/attention-jaccard_voc12', 'ImageSets/Segmentation/val.txt', 1449),
    ('dense/depth_nyu', 'nyudepthv2_test_files_with_gt.txt', 654)])
def test_own_data_in_the_layout_of_protocols_have_their_own_name(tmp_path, config, listed, genuine):
    (tmp_path / 'garden' / listed).parent.mkdir(parents=True)
    name = Config.fromfile(ROOT / f'{config}.py').default_hooks.record.dataset
    for number, expected in ((3, 'garden'), (genuine, name)):
        (tmp_path / 'garden' / listed).write_text(''.join(f'{i:06d}\n' for i in range(number)))
        assert applied(config, tmp_path / 'garden', tmp_path)[0].default_hooks.record.dataset == expected


@pytest.mark.parametrize(('folder', 'name'), [('coco', 'own coco'), ('fruits.v2', 'fruits.v2')])
def test_own_data_never_have_the_name_of_published_ones(tmp_path, folder, name):
    cfg, _ = applied('detection/mask-rcnn_vit-small_1x_coco', write_fruits(tmp_path / folder), tmp_path)
    assert cfg.default_hooks.record.dataset == name


def eighty(coco: dict) -> None:
    """The categories of COCO."""
    coco['categories'] = [dict(id=3 + i, name=name) for i, name in enumerate(DATASETS.get('mmdet.CocoDataset').METAINFO['classes'])]


def test_images_of_several_suffixes_are_all_used(tmp_path):
    """And what is left out is counted once, with what cannot be read."""
    root = write_masks(tmp_path / 'own')
    for number, suffix in enumerate(('.JPG', '.jpeg', '.jpg', '.JPG')):
        path = root / f'images/photo {number}.png'
        Image.open(path).convert('RGB').save(path.with_suffix(suffix), 'JPEG')
        path.unlink()
    (root / 'images/photo 4.png').rename(root / 'images/photo 4.heic')
    (root / 'masks/photo 5.png').unlink()
    cfg, said = applied(SEGMENTATION, root, tmp_path, **NAMED)
    assert all(each in said for each in ('train: 8 images in', '1 more have no mask in', '1 .heic cannot be read', 'val: 2 images'))
    train = DATASETS.build(dict(cfg.train_dataloader.dataset, _scope_='mmseg'))
    assert len(train) == 8 and {Path(train.get_data_info(i)['img_path']).suffix for i in range(8)} == {'.png', '.JPG', '.jpeg'}
    assert all(Path(train.get_data_info(i)[key]).is_file() for i in range(8) for key in ('img_path', 'seg_map_path'))
    assert not [*filter(None, map(unused_images, plain_datasets(train)))]
    val = DATASETS.build(dict(cfg.val_dataloader.dataset, _scope_='mmseg'))
    assert {Path(val.get_data_info(i)['img_path']).name for i in range(2)} == {'photo 2.jpg', 'photo 9.png'}
    cfg, _ = applied('dense/small_hummingbird_world', root, tmp_path, **NAMED)
    bank = DATASETS.build(cfg.test_cfg.bank.dataset)
    assert len(bank) == 8 and all(bank[i]['label'] == 0 for i in range(8))


def test_the_setting_in_records_follows_the_classes(tmp_path):
    cfg, _ = applied('dense/small_linear-dinov3_camvid', write_masks(tmp_path / 'own'), tmp_path, **NAMED)
    assert cfg.default_hooks.record.setting == dict(image=128, mask='original', classes=4) and cfg.default_hooks.record.dataset == 'own'


@pytest.mark.parametrize('upright', [True, False])
def test_photographs_that_are_turned_by_their_orientation(tmp_path, upright):
    """mmseg and mmdet turn them; protocols take masks of either."""
    root = write_masks(tmp_path / 'own', suffix='.jpg', change=np.rot90 if upright else lambda ids: ids)
    for path in (root / 'images').iterdir():
        exif = Image.Exif()
        exif[0x0112] = 8
        Image.open(path).save(path, exif=exif)
    cfg, _ = applied('dense/small_hummingbird_world', root, tmp_path, **NAMED)
    assert DATASETS.build(cfg.test_dataloader.dataset)[0]['label'] == 0
    if upright:
        applied(SEGMENTATION, root, tmp_path, **NAMED)
    else:
        with pytest.raises(InputError, match='has 64 x 48 pixels, but its image .* has 48 x 64 when it is turned as its EXIF'):
            applied(SEGMENTATION, root, tmp_path, **NAMED)


def test_images_that_are_trained_on_and_validate_are_counted(tmp_path):
    root = write_fruits(write_fruits(tmp_path / 'own', 'train.json'), 'val.json', numbers=range(4))
    assert '4 images are trained on and validate, first IMG_0000.jpg' in applied(DETECTION, root, tmp_path)[1]


def test_annotations_of_unknown_categories_are_counted(tmp_path):
    root = write_fruits(tmp_path / 'own', change=lambda coco: coco['annotations'][0].update(category_id=99))
    assert '1 annotations of' in (said := applied(DETECTION, root, tmp_path)[1]) and 'first 99' in said


@pytest.mark.parametrize(('clip', 'name'), [('bike-packing', 'davis-2017'), ('my-cat', 'own')])
def test_own_clips_are_not_recorded_as_davis(tmp_path, clip, name):
    listed = tmp_path / 'own/ImageSets/2017/val.txt'
    listed.parent.mkdir(parents=True)
    listed.write_text(f'{clip}\nblackswan\n')
    cfg = Config.fromfile(ROOT / 'video/davis2017.py')
    use_data(cfg, str(tmp_path / 'own'))
    assert cfg.default_hooks.record.dataset == name


def test_a_list_of_classes_that_names_the_void_leaves_the_config_as_it_is(tmp_path):
    for folder in ('images', 'annotations'):
        for part in ('train', 'val'):
            (tmp_path / 'own' / folder / part).mkdir(parents=True)
    (tmp_path / 'own/classes.txt').write_text('\n'.join(f'class {i}' for i in range(12)))
    cfg = Config.fromfile(ROOT / 'segmentation/small_semfpn_camvid.py')
    use_data(cfg, str(tmp_path / 'own'))
    assert cfg.model.decode_head.num_classes == 11 and cfg.model.decode_head.ignore_index == 11


def removed(write: Callable, *paths: str) -> Callable:
    def make(root: Path) -> None:
        write(root)
        for path in paths:
            for found in root.glob(path):
                found.unlink()
    return make


def nothing(root: Path) -> None:
    root.mkdir()
    (root / 'labels.csv').write_text('a,b')


def one_mask(change: Callable) -> Callable:
    def make(root: Path) -> None:
        path = write_masks(root) / 'masks/photo 7.png'
        Image.fromarray(change(np.array(Image.open(path)))).save(path)
    return make


def with_a_slip(ids: np.ndarray) -> np.ndarray:
    ids[0, :3] = 77
    return ids


def as_jpeg(root: Path) -> None:
    for path in (write_masks(root) / 'masks').iterdir():
        Image.open(path).save(path.with_suffix('.jpg'))
        path.unlink()


NAMED = dict(classes=['background', 'apple', 'pear', 'plum'])
MISTAKES = [
    (DETECTION, nothing, {}, 'hold no file of COCO.*there is labels.csv'),
    (DETECTION, lambda root: [write_fruits(root, file) for file in ('a.json', 'b.json')], {},
     'several files of COCO .a.json, b.json.*ann_file=FILE'),
    (DETECTION, lambda root: (write_fruits(root, 'my_train.json') / 'my_val.json').write_text('{"images": ['), {},
     r'my_val.json. is not a file of COCO.*cannot be read as JSON .*line 1'),
    (DETECTION, lambda root: write_fruits(root, change=lambda coco: coco.pop('categories')), {}, 'fruits.json.*it has no list categories'),
    (DETECTION, lambda root: write_fruits(root, change=lambda coco: [each.update(image_id=-1) for each in coco['annotations']]), {},
     "no annotation of .*fruits.json' belongs to one of its images: the image_id of the first is -1"),
    (DETECTION, lambda root: [write_fruits(root, 'train.json'),
                              write_fruits(root, 'val.json', change=lambda coco: coco['categories'].reverse())],
     {}, 'have different categories, apple, pear, plum and plum, pear, apple: give them the same in the same order'),
    (DETECTION, removed(write_fruits, 'images/*'), {}, 'IMG_0000.jpg, the first image of .* is not in'),
    (DETECTION, write_fruits, dict(classes=['apple', 'peer']), "--classes has 'peer', and the categories of .* are apple, pear, plum"),
    (DETECTION, three(lambda coco: coco['annotations'][0].pop('bbox')), {}, "entry 0 of 'annotations' .* has no 'bbox'"),
    (DETECTION, lambda root: write_fruits(root.parent, images='own'), {},
     "own' and its folders hold no file of COCO.*give the folder '.*', which has fruits.json"),
    (DETECTION, lambda root: write_fruits(root, change=lambda coco: [each.update(width=32, height=24) for each in coco['images']]), {},
     "10 of 10 images looked at of .* have another size than it says, first 'IMG_0000.jpg', 64 x 48 pixels in place of 32 x 24"),
    (DETECTION, three(lambda coco: [each.update(bbox=[side / 64 for side in each['bbox']]) for each in coco['annotations']]), {},
     'fruits.json. are shares of the image, first .0.03125, '),
    (DETECTION, three(lambda coco: [each['bbox'].__setitem__(slice(2, 4), [each['bbox'][0] + 16, each['bbox'][1] + 16])
                                    for each in coco['annotations']]), {}, 'boxes of .*fruits.json. reach beyond .* two corners: COCO'),
    (DETECTION, lambda root: write_fruits(root, change=lambda coco: coco['images'][3].update(id=0)), {},
     "fruits.json' has more than one of its images with the id 0"),
    (SEGMENTATION, nothing, NAMED, 'no folders of images and of their masks .there is labels.csv'),
    (SEGMENTATION, write_masks, {}, 'have the ids 0, 1, 2, 3, and nothing says what they are: give --classes'),
    (SEGMENTATION, write_masks, dict(classes=['apple', 'pear', 'plum']),
     'levels 0 in 30,234 pixels, 1 in .* 0 to 2 .0 apple, 1 pear, 2 plum.: 2,210 pixels .*photo 0.png.*name all classes, the back'),
    (SEGMENTATION, removed(write_masks, 'masks/*'), NAMED, 'there is no mask in'),
    (SEGMENTATION, lambda root: write_masks(root, mask_suffix='.gif.png', change=lambda ids: np.stack([ids] * 3, -1)), NAMED,
     r'has colours .RGB; 4 of them: \(0, 0, 0\) in [\d,]+ pixels, .* in place of ids'),
    (SEGMENTATION, lambda root: write_masks(root, change=lambda ids: (255 * (ids > 0)).astype(np.uint8)), NAMED,
     'the ids 0, 255, and 255 is void here.*name two classes'),
    (SEGMENTATION, lambda root: write_masks(root.parent, images='own'), NAMED, 'call them images and masks'),
    (SEGMENTATION, lambda root: (write_masks(root) / 'images/photo 2.png').write_bytes(b'none'), NAMED,
     "1 of 2 images looked at that validate cannot be decoded, first .*photo 2.png'"),
    (DETECTION, lambda root: (write_fruits(root) / 'images/IMG_0009.jpg').write_bytes(b'none'), {},
     "1 of 2 images looked at that validate cannot be decoded, first .*IMG_0009.jpg'"),
    (SEGMENTATION, as_jpeg, NAMED, "end with .jpg, first 'photo 0.jpg'.*save them as PNG; docs/own_data.md"),
    (SEGMENTATION, one_mask(lambda ids: ids[::2, ::2]), NAMED, "photo 7.png' has 32 x 24 pixels, but its image 'photo 7.png' has 64 x 48"),
    (SEGMENTATION, one_mask(with_a_slip), NAMED, "3 pixels .* are of none, first in 'photo 7.png'; these few are most likely slips"),
    (SEGMENTATION, lambda root: write_masks(root, change=lambda ids: ids * np.uint8(85)), NAMED,
     r'levels 0 in [\d,]+ pixels, 85 in .* are 4 levels of grey for 4 classes: write the ids in their place; docs'),
    (SEGMENTATION, lambda root: write_masks(root, change=lambda ids: np.array(Image.fromarray((255 * (ids > 0)).astype(np.uint8)).resize(
        (32, 24), 2).resize((64, 48), 2))), dict(classes=['background', 'fruit']), 'so many levels are edges that were smoothed'),
    (VIDEO, nothing, {}, 'neither ImageSets.* nor folders of clips and of their masks .there is labels.csv'),
    (VIDEO, write_davis2016, {}, '00000.png. has no other id than 0 and 255, and 255 is void.*dataset.binary=True'),
    (VIDEO, lambda root: write_clips(root / 'x', 'clips') and (root / 'x/masks').rename(root / 'masks') and (root / 'x/clips').rename(
        root / 'clips') and (root / 'masks/cat').rename(root / 'masks/Cat') and (root / 'masks/dog').rename(root / 'masks/Dog'), {},
     'no folder of a clip in .* has one of masks in'),
    (DETECTION, lambda root: write_fruits(root, change=lambda coco: coco['categories'][2].update(name='apple')), {},
     "several categories called 'apple'"),
    (VIDEO, lambda root: write_clips(root, length=2), {}, "'cat' has 2 frames, of which the first and the last are not scored"),
    (VIDEO, lambda root: write_clips(root, level=0), {}, "the first mask of sequence 'cat', .*, has no object to follow"),
    (VIDEO, removed(write_clips, 'masks/cat/00002.png'), {}, "sequence 'cat' has no mask for 1 of its 4 frames"),
    (VIDEO, lambda root: root.mkdir() or (root / 'cat.mp4').write_bytes(b'movie'), {}, 'is a movie.*ffmpeg -i cat.mp4 clips/cat/'),
]


@pytest.mark.parametrize(('config', 'write', 'arguments', 'message'), MISTAKES)
def test_mistakes(tmp_path, config, write, arguments, message):
    write(tmp_path / 'own')
    with pytest.raises(InputError, match=message):
        cfg, _ = applied(config, tmp_path / 'own', tmp_path, **arguments)
        DATASETS.build(dict(cfg.test_dataloader.dataset, type='mmdssl.DAVIS'))


def test_the_hint_about_the_folder_of_images_leads_somewhere(tmp_path):
    """Of a COCO json for pretraining, whose images are nowhere near."""
    root = write_fruits(tmp_path / 'fruits', images='far/away')
    cfg = Config.fromfile(ROOT / 'small/dino.py')
    with pytest.raises(InputError, match='--cfg-options train_dataloader.dataset.data_prefix.img=FOLDER'):
        use_data(cfg, str(root / 'fruits.json'))
    use_data(cfg, str(root / 'fruits.json'), options={'train_dataloader.dataset.data_prefix.img': str(root / 'far/away')})
    assert len(DATASETS.build(cfg.train_dataloader.dataset)) == 12
