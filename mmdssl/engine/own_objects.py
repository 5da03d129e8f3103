"""Point a config of detection at own files of COCO."""
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS

from mmdssl.datasets.checks import check_coco
from mmdssl.datasets.own import HELD_OUT, require_decodable, require_readable
from mmdssl.datasets.own_coco import CocoFile, find_coco, hold_out, images_of_both
from mmdssl.engine.own_config import call_own, in_short, name_data, parts, plain, set_classes, use_root
from mmdssl.errors import InputError


def use_coco(cfg: Config, path: Path, names: list[str] | None, options: Mapping[str, object], scratch: Path) -> list[str]:
    """Point at files of COCO; the heads have as many classes as these, and there is none for masks where no object has one."""
    datasets = {part: plain(loader.dataset)[0] for part, loader in parts(cfg)}
    given = {part: str(options[key]) for part in datasets if (key := f'{part}_dataloader.dataset.ann_file') in options}
    if not given and path.is_dir() and all((path / dataset.ann_file).is_file() for dataset in datasets.values()):
        use_root(cfg, str(path))  # laid out as the config has it
        files, notes = {'val': _file(path, datasets.get('val') or datasets['test'])}, []  # the smaller one
        name_data(cfg, path, len(files['val'].content['images']))
    else:
        files, notes = _find(cfg, path, given, options, datasets, scratch)
        call_own(cfg, path)
    there = next(iter(files.values())).names
    if there != _known_classes(datasets) and 'train' in datasets and 'train' not in files:
        files['train'] = _file(path, datasets['train'])
    each_file = list({file.path: file for file in files.values()}.values())
    for file in each_file:
        file.check_names()
        if file.names != there:
            raise InputError(f"the files of COCO in '{path}' have different categories, {', '.join(there)} and {', '.join(file.names)}: "
                             'give them the same in the same order, by which classes are numbered')
        if file.stray:
            notes.append(f"{len(file.stray)} annotations of '{file.said}' are left out: its categories do not list their ids, first "
                         f'{file.stray[0]!r}')
    for file in each_file:
        notes += filter(None, [file.odd_sizes()])
        file.check_boxes()
    unknown = [name for name in names or () if name not in there]
    if unknown:
        raise InputError(f"--classes has '{unknown[0]}', and the categories of '{path}' are {', '.join(there)}: name some of these, or "
                         'leave it out for all of them')
    if 'mask_head' in (cfg.model.get('roi_head') or {}) and not any(file.has_masks for file in each_file):
        _leave_masks_out(cfg, datasets)
        notes.append('no object has a segmentation: the network has no head for masks, and boxes alone are measured')
    names = [name for name in there if not names or name in names]  # in the order by which mmdet numbers them
    if names != _known_classes(datasets):
        call_own(cfg, path)
        for dataset in datasets.values():
            dataset.metainfo = {**(dataset.get('metainfo') or {}), 'classes': tuple(names)}
        set_classes(cfg.model, len(names))
        notes.append(f'{len(names)} classes: {in_short(names)}')
    return notes


def _file(root: Path, dataset: ConfigDict) -> CocoFile:
    """The file that a data set reads below a root."""
    path = root / dataset.ann_file
    require_readable(path)
    return CocoFile(path, check_coco(str(path)), root / dataset.data_prefix.get('img', ''))


def _find(cfg: Config, path: Path, given: Mapping[str, str], options: Mapping[str, object], datasets: Mapping[str, ConfigDict],
          scratch: Path) -> tuple[dict[str, CocoFile], list[str]]:
    """Look for files and point the data sets at them; and what was found, for people."""
    folders = {part: str(options[key]) for part in datasets if (key := f'{part}_dataloader.dataset.data_prefix.img') in options}
    files = find_coco(path, given, folders)
    for part, file in files.items():
        if part != 'test' or file.content['annotations']:
            check_coco(str(file.path))
    single = set(files) == {'train'}
    if single:
        files = hold_out(files['train'], scratch)
    notes = [f'{part}: {len(file.content["images"])} images in {file.said}' for part, file in files.items()]
    if single:
        notes.append(f'there is a single file, so every {HELD_OUT}th image validates')
    if 'val' in files and (both := images_of_both(files['train'], files['val'])):
        notes.append(f'{len(both)} images are trained on and validate, first {both[0]}: the scores say of these what was learnt by heart')
    root = (path.parent if path.is_file() else path).resolve()  # below which options name files and folders
    files.setdefault('val', files.get('test', files['train']))
    if not files.get('test', files['val']).content['annotations']:
        files['test'] = files['val']
    require_decodable([files['val'].images / image['file_name'] for image in files['val'].content['images']])
    for part, dataset in datasets.items():
        file = files.get(part, files['val'])
        dataset.update(data_root=str(root), ann_file=str(file.path), data_prefix=dict(img=str(file.images)))
        if file.source:
            dataset.metainfo = dict(dataset.get('metainfo') or {}, source=(file.said, ))
    for part in ('val', 'test'):
        if 'ann_file' in (cfg.get(f'{part}_evaluator') or {}):
            cfg[f'{part}_evaluator'].ann_file = str(files.get(part, files['val']).path)
    return files, notes


def _known_classes(datasets: Mapping[str, ConfigDict]) -> list[str]:
    """Of the config, or of COCO."""
    dataset = next(iter(datasets.values()))
    return list((dataset.get('metainfo') or {}).get('classes') or DATASETS.get('mmdet.CocoDataset').METAINFO['classes'])


def _leave_masks_out(cfg: Config, datasets: Mapping[str, ConfigDict]) -> None:
    """Make a Mask R-CNN a Faster R-CNN."""
    cfg.model.roi_head.update(mask_head=None, mask_roi_extractor=None)
    for dataset in datasets.values():
        for step in dataset.pipeline:
            if 'with_mask' in step:
                step.with_mask = False
    for part in ('val', 'test'):
        if 'metric' in (cfg.get(f'{part}_evaluator') or {}):
            cfg[f'{part}_evaluator'].metric = 'bbox'
    record = (cfg.get('default_hooks') or {}).get('record') or {}
    if record.get('framework'):
        record.framework = record.framework.replace('cascade-mask-rcnn', 'cascade-rcnn').replace('mask-rcnn', 'faster-rcnn')
