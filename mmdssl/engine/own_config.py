"""What configs say of data, wherever they say it: data sets, folders, numbers of classes, the name in records."""
from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmengine.config import Config, ConfigDict
from torchvision.datasets.folder import IMG_EXTENSIONS

from mmdssl.datasets.lists import read_lines
from mmdssl.errors import InputError
from mmdssl.results.published import published_datasets

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
# What the folders of a data set are also called.
SYNONYMS = {'training': 'train', 'validation': 'val'}
# By what data sets are known for themselves: how many images are evaluated (of VOC in the split), or the clip of which their list begins.
EVALUATED = {'coco': 5000, 'coco-stuff': 5000, 'coco-things': 5000, 'coco20k': 19817, 'ade20k': 2000, 'cityscapes': 500, 'camvid': 101,
             'voc12': 1449, 'voc12 trainval': 11540, 'voc07 trainval': 5011, 'ecssd': 1000, 'duts-te': 5019, 'dut-omron': 5168,
             'nyu-depth-v2': 654}
VOC_LISTS = dict(VOCBoxes='Main', VOCInstances='Segmentation')  # folders of ImageSets
FIRST_CLIPS = {'davis-2017': 'bike-packing'}


def plain(dataset: ConfigDict) -> list[ConfigDict]:
    """The configs of the data sets inside wrappers that repeat or concatenate them."""
    inside = dataset.get('datasets') or [part for part in [dataset.get('dataset')] if part]
    return [each for part in inside for each in plain(part)] if inside else [dataset]


def parts(cfg: Config) -> list[tuple[str, ConfigDict]]:
    """Dataloaders of a config, with the part of a data set that each reads."""
    bank = (cfg.get('test_cfg') or {}).get('bank')
    loaders = [('train', cfg.get('train_dataloader') or bank), ('val', cfg.get('val_dataloader')), ('test', cfg.get('test_dataloader'))]
    return [(part, loader) for part, loader in loaders if loader]


def has_label_maps(cfg: Config) -> bool:
    """Whether mmseg reads the data."""
    found = [dataset for loader in filter(None, map(cfg.get, LOADERS)) for dataset in plain(loader.dataset)]
    return bool(found) and all('seg_map_path' in (dataset.get('data_prefix') or {}) for dataset in found)


def set_classes(node: object, number: int) -> None:
    """All heads of a model, however deep."""
    if isinstance(node, Mapping):
        if 'num_classes' in node:
            node['num_classes'] = number
        for key, child in node.items():
            if key != 'backbone':
                set_classes(child, number)
    elif isinstance(node, (list, tuple)):
        for child in node:
            set_classes(child, number)


def use_root(cfg: Config, root: str) -> None:
    """Move the data sets of a config, whose folders may also have their other usual names."""
    for name in filter(cfg.get, LOADERS):
        datasets = plain(cfg[name].dataset)
        for i, dataset in enumerate(datasets):
            if is_folder(dataset):
                dataset.data_root = os.path.join(root, existing(root, os.path.basename(dataset.data_root), f'the {name}'))
                continue
            dataset.data_root = root
            for key, folder in (dataset.get('data_prefix') or {}).items():
                inside = f'datasets.{i}.' if len(datasets) > 1 else ''
                dataset.data_prefix[key] = existing(root, folder, f'{name}.dataset.{inside}data_prefix.{key}')
    for part in ('val', 'test'):
        if 'ann_file' in (cfg.get(f'{part}_evaluator') or {}):
            cfg[f'{part}_evaluator'].ann_file = os.path.join(root, cfg[f'{part}_dataloader'].dataset.ann_file)


def is_folder(dataset: ConfigDict | None) -> bool:
    """Whether it reads one part, with a folder for each class."""
    return (dataset or {}).get('type', '').rpartition('.')[2] == 'LabelledFolder'


def existing(root: str, folder: str, place: str) -> str:
    """:func:`find_folder`, or an InputError that says which option of the config, ``place``, names it."""
    found = find_folder(root, folder)
    if found is None:
        instead = '' if ' ' in place else f", or say which it is below '{root}' with --cfg-options {place}=FOLDER"
        raise InputError(f"'{root}' has no folder '{folder.strip('/')}', which {place} of the config reads: call the folder so{instead}")
    return found


def find_folder(root: str | Path, folder: str) -> str | None:
    """A folder of a data set, which may have its other usual name."""
    short = '/'.join(SYNONYMS.get(part, part) for part in folder.strip('/').split('/'))
    for candidate in (folder, short, f'images/{short}'):
        if Path(root, candidate).is_dir():
            return candidate
    return None


def name_data(cfg: Config, root: str | Path, images: int | None = None) -> None:
    """Call data in records as the folder is called that was given, unless they are the data set of the config.

    Own results would stand beside published ones otherwise, which are of other images.

    Args:
        cfg: With its data sets at ``root``; changed in place.
        root: ``--data``.
        images: How many are evaluated, where that is known; they are counted otherwise.
    """
    record = (cfg.get('default_hooks') or {}).get('record') or {}
    name, root = record.get('dataset'), Path(root).resolve()
    if name == 'imagenet-1k':
        own = not _is_imagenet(root)
    elif name == 'sample-world':
        own = not any((folder / 'world.json').is_file() for folder in [root, *root.parents[:2]])
    elif name in FIRST_CLIPS:
        dataset = cfg.test_dataloader.dataset
        listed = Path(root, 'ImageSets', dataset.get('year', '2017'), f'{dataset.get("split", "val")}.txt')
        own = not listed.is_file() or FIRST_CLIPS[name] not in listed.read_text(errors='replace').split()
    else:
        split = ' trainval' if cfg.get('test_dataloader') and cfg.test_dataloader.dataset.get('split') == 'trainval' else ''
        expected = EVALUATED.get(f'{name}{split}')
        own = expected is not None and (_evaluated(cfg) if images is None else images) != expected
    if own:
        call_own(cfg, root)


def call_own(cfg: Config, root: str | Path) -> None:
    """Call data in records as their folder or file is called, and never as data that others publish numbers of."""
    record, root = (cfg.get('default_hooks') or {}).get('record') or {}, Path(root).resolve()
    if record.get('dataset'):
        name = root.name if root.is_dir() else root.stem
        record.dataset = f'own {name}' if name in {*published_datasets(), *EVALUATED, *FIRST_CLIPS} else name


def _is_imagenet(folder: Path) -> bool:
    """By the names of its 1000 classes."""
    classes = [entry.name for entry in Path(folder, 'val').iterdir() if entry.is_dir()]
    return len(classes) == 1000 and all(re.fullmatch(r'n\d{8}', name) for name in classes)


def _evaluated(cfg: Config) -> int:
    """How many images are evaluated."""
    dataset = plain((cfg.get('test_dataloader') or cfg.val_dataloader).dataset)[0]
    if of_voc := VOC_LISTS.get(dataset.type.rpartition('.')[2]):
        listed = Path(dataset.data_root, 'ImageSets', of_voc, f'{dataset.split}.txt')
        return len(read_lines(listed, 'image', 'complete the data'))
    listed = Path(dataset.data_root, dataset.get('names') or dataset.get('image_list') or dataset.get('ann_file') or '')
    if listed.is_file():
        return len(read_lines(listed, 'image', 'complete the data'))
    folder = Path(dataset.data_root, dataset.get('images') or dataset.data_prefix.img_path)
    return sum(name.lower().endswith(IMG_EXTENSIONS) for _, _, names in os.walk(folder) for name in names)


def in_short(names: Sequence[object]) -> str:
    return ', '.join(map(str, names[:20])) + (' ...' if len(names) > 20 else '')
