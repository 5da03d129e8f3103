"""Point a config of segmentation, or of a protocol on patches, at own images with masks."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mmengine.config import Config, ConfigDict

from mmdssl.datasets.lists import read_lines
from mmdssl.datasets.own import HELD_OUT, require_decodable, require_readable
from mmdssl.datasets.own_masks import Pairs, check_levels, find_pairs, levels_of, write_names
from mmdssl.datasets.palette import VOID
from mmdssl.engine.own_config import call_own, find_folder, has_label_maps, in_short, parts, plain, set_classes
from mmdssl.errors import InputError


def class_list(classes: Sequence[str]) -> list[str]:
    """Names of ``--classes``, which may be a text file, or have commas between them."""
    if len(classes) == 1 and Path(classes[0]).is_file():
        classes = read_lines(classes[0], 'class', 'write one on each line', unique=False)
    names = [name for each in classes for name in each.split(',') if name]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise InputError(f"--classes has '{twice}' twice: name each class once, in the order of the ids")
    return names


def fits_config(cfg: Config, root: str) -> bool:
    """Whether images with masks lie where the config says, and a ``classes.txt``, if there is one, names as many classes as it has."""
    listed = Path(root, 'classes.txt')
    head = next((node for node in (cfg.model, cfg.model.get('decode_head') or {}) if 'num_classes' in node), {})
    number = head.get('num_classes')
    named = number is not None and number + (head.get('ignore_index') == number)  # the list may name the void of the end
    if listed.is_file() and number is not None and len(class_list([str(listed)])) not in (number, named):
        return False
    folders = [folder for _, loader in parts(cfg) for each in plain(loader.dataset)
               for folder in ([each.images, each.masks] if 'masks' in each else each.data_prefix.values())]
    return all(find_folder(root, folder) for folder in folders)


def use_pairs(cfg: Config, root: Path, names: list[str] | None, scratch: Path) -> list[str]:
    """Point at images with masks, by mmseg's data sets or :class:`mmdssl.datasets.SegmentedImages`."""
    require_readable(root)
    if not root.is_dir():
        raise InputError(f"--data '{root}' is not a folder: give the one that holds folders of images and of masks")
    pairs = find_pairs(root)
    if names is None and (root / 'classes.txt').is_file():
        names = class_list([str(root / 'classes.txt')])
    distinct = {part: found for part, found in pairs.items() if found is not pairs['train'] or part == 'train'}
    levels = levels_of(distinct.values(), upright=has_label_maps(cfg))  # of all parts, which are read alike
    if names is None:
        void = ' (255 is void)' if VOID in levels.there else ''
        raise InputError(f"the masks in '{root}' have the ids {in_short(levels.there)}{void}, and "
                         f'nothing says what they are: give --classes NAME NAME ..., from 0 on, or write them to {root}/classes.txt')
    if has_label_maps(cfg):
        require_decodable([pairs['val'].images / name for name in pairs['val'].names])
    zero_is_void = names[0] == 'void'
    binary = check_levels(levels, names, root)
    names = names[zero_is_void:]
    lists = {part: [(suffix, write_names(stems, scratch / f'{part}{suffix if len(found.by_suffix) > 1 else ""}.txt'))
                    for suffix, stems in found.by_suffix.items()] for part, found in distinct.items()}
    notes = [f'{part}: {found.said}' for part, found in distinct.items()]
    if pairs['val'].images == pairs['train'].images and pairs['val'] is not pairs['train']:
        notes.append(f'there are no folders train and val, so every {HELD_OUT}th image validates')
    elif pairs['val'] is pairs['train']:
        notes.append('there is no folder val, so that the images of the training validate: the scores say what was learnt by heart')
    for part, loader in parts(cfg):
        part = part if part in pairs else 'val'
        labels = dict(names=names, zero_is_void=zero_is_void, binary=binary)
        old = plain(loader.dataset)[0]
        if 'masks' in old:
            path = write_names(pairs[part].names, scratch / f'{part}.txt')
            loader.dataset = _segmented_images(old, root, pairs[part], path, **labels)
        else:
            each = [_label_maps(old, root, pairs[part], suffix, path, **labels) for suffix, path in lists.get(part, lists['train'])]
            loader.dataset = each[0] if len(each) == 1 else ConfigDict(type='ConcatDataset', datasets=each)
    set_classes(cfg.model, len(names))
    for head in (cfg.model.get('decode_head'), cfg.model.get('auxiliary_head'), cfg.get('val_evaluator'), cfg.get('test_evaluator')):
        if isinstance(head, Mapping):
            head.pop('ignore_index', None)
    if 'seg_pad_val' in (cfg.model.get('data_preprocessor') or {}):
        cfg.model.data_preprocessor.seg_pad_val = VOID
    call_own(cfg, root)
    setting = (cfg.default_hooks.get('record') or {}).get('setting') or {}
    if 'classes' in setting:
        setting.update(classes=len(names))
        setting.pop('ignored', None)
    return [*notes, f'{len(names)} classes: {in_short(names)}{", 0 is not counted" * zero_is_void}{", 255 is read as 1" * binary}']


def _segmented_images(old: ConfigDict, root: Path, pairs: Pairs, listed: Path, names: list[str], zero_is_void: bool,
                      binary: bool) -> ConfigDict:
    images, masks = _below(root, pairs)
    new = ConfigDict({key: value for key, value in old.items() if key not in ('number', 'number_seed')})
    new.update(data_root=str(root.resolve()), images=images, masks=masks, mask_suffix=pairs.mask_suffix, names=str(listed), classes=names,
               reduce_zero_label=zero_is_void, ignore=[], binary=binary)
    return new


def _label_maps(old: ConfigDict, root: Path, pairs: Pairs, suffix: str, listed: Path, names: list[str], zero_is_void: bool,
                binary: bool) -> ConfigDict:
    """Of the images with a suffix."""
    images, masks = _below(root, pairs)
    labels = dict(num_classes=len(names), reduce_zero_label=zero_is_void, binary=binary)
    pipeline = []
    for step in old.pipeline:
        kind = step.type.rpartition('.')[2]
        if kind in ('LoadLabelMap', 'LoadAnnotations'):
            step = dict(type='mmdssl.LoadLabelMap', **labels)
        pipeline.append({key: value for key, value in step.items() if key != 'ignore_index'})
    return ConfigDict(
        type='BaseSegDataset', data_root=str(root.resolve()), ann_file=str(listed), pipeline=pipeline,
        metainfo=dict(classes=tuple(names), source=(str(pairs.images), )), data_prefix=dict(img_path=images, seg_map_path=masks),
        img_suffix=suffix, seg_map_suffix=pairs.mask_suffix, reduce_zero_label=zero_is_void)


def _below(root: Path, pairs: Pairs) -> tuple[str, str]:
    images, masks = (str(folder.resolve().relative_to(root.resolve())) for folder in (pairs.images, pairs.masks))
    return images, masks
