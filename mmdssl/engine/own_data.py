"""Point a config at other data than it names."""
from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from glob import glob
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from torchvision.datasets.folder import IMG_EXTENSIONS

from mmdssl.datasets.checks import check_coco
from mmdssl.datasets.images import find_images
from mmdssl.datasets.labelled_folder import class_names
from mmdssl.datasets.lists import read_lines
from mmdssl.datasets.own import HELD_OUT, CocoFile, Pairs, check_ids, find_clips, find_coco, find_pairs, hold_out, ids_of, write_names
from mmdssl.datasets.palette import VOID
from mmdssl.datasets.tars import is_address
from mmdssl.errors import InputError
from mmdssl.models.backbones.names import plain_config

FIRST_CLIPS = {'davis-2017': 'bike-packing', 'sample-world': 'val-01'}  # by which a data set is known for itself
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
SHARED_BY_SOURCES = ('views', 'pipeline', 'backend', 'photometric_device', 'scaled_decoding')
FOLDERS = 'images', 'masks'
TAR = re.compile(r'\.(tar(\.\w+)?|tgz)$')  # the compressed ones too, of which the data set says what is wrong
SHARDS_TOGETHER = 16  # tars behind an address among which images are shuffled
# What the folders of a data set are also called.
SYNONYMS = {'training': 'train', 'validation': 'val'}
# Images, and patches in the memory, of validation by patches during pretraining.
DENSE_BANK, DENSE_QUERIES, DENSE_MEMORY = 256, 64, 10240
DENSE_FOLDERS = 'images/train, images/val, annotations/train and annotations/val (or, as ADE20K, training and validation)'


def name_folders(cfg: Config, options: Mapping[str, object]) -> None:
    """Apply those of ``--cfg-options`` that name folders of the config's data sets, which :func:`use_data` looks for."""
    for option, folder in options.items():
        *path, key = option.split('.')
        node = cfg._cfg_dict
        for part in path:
            node = node.get(part) if isinstance(node, Mapping) else node[int(part)] if _has(node, part) else None
        if isinstance(node, Mapping) and key in node and isinstance(folder, str) and (key in FOLDERS or path[-1:] == ['data_prefix']):
            node[key] = folder


def use_data(cfg: Config, path: str | Sequence[str], knn: str | None = None, classes: Sequence[str] | None = None,
             options: Mapping[str, object] | None = None, scratch: str | Path | None = None) -> list[str]:
    """Apply ``--data``, ``--knn`` and ``--classes`` of the tools.

    Args:
        cfg: The config, changed in place.
        path: For pretraining, images: a folder, a ``.txt`` list of paths, a COCO ``.json``, or tars: their folder, a pattern, an address of
            these, or several paths. For protocols and classification a folder with ``train`` and ``val``, one folder per class in each,
            whose number the model follows. For other tasks the root of the data set, laid out as COCO, ADE20K or DAVIS is, or as
            :mod:`mmdssl.datasets.own` finds it, where classes are those of the data and the model follows their number.
        knn: For pretraining, a folder with ``train`` and ``val``, one folder per class in each.
        classes: Names of the classes of objects or masks, or a text file with one on each line; of masks in the order of ids, where
            ``void`` as the first is not counted.
        options: ``--cfg-options``, which may name files and folders.
        scratch: Folder for lists of images and parts of files that are made; ``data`` in the work dir by default.

    Returns:
        What was found, for people.

    Raises:
        InputError: Something is not there.
    """
    trained = (cfg.get('train_dataloader') or {}).get('dataset', {})
    pretrains = 'views' in trained and 'dataset' not in trained
    tars = _tars(path) if pretrains else None
    if tars is None and (not isinstance(path, str) or not Path(path).exists()):
        raise InputError(f"--data '{path if isinstance(path, str) else ' '.join(path)}' does not exist: give a folder of images, a .txt "
                         'list of paths, a COCO .json, tars, or the root of a data set')
    kinds = {plain.get('type', '').rpartition('.')[2] for loader in filter(None, map(cfg.get, LOADERS)) for plain in _plain(loader.dataset)}
    options, scratch = options or {}, Path(scratch or Path(cfg.get('work_dir') or 'work_dirs', 'data'))
    names = None if not classes else _names(classes)
    if names and not (kinds & {'CocoDataset', 'SegmentedImages', 'DAVIS'} or _has_label_maps(cfg)):
        raise InputError(f'--classes names those of objects or masks, and {cfg.filename} reads none, or its data have them: leave it out')
    if pretrains:
        _use_images(cfg, path, tars, options.get('train_dataloader.dataset.data_prefix.img'))
        if not knn:  # what the config says of k-NN belongs to its own images
            cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    elif kinds == {'CocoDataset'}:
        return _use_coco(cfg, Path(path), names, options, scratch)
    elif kinds == {'DAVIS'}:
        return _use_clips(cfg, Path(path))
    elif (_has_label_maps(cfg) or kinds == {'SegmentedImages'}) and (names or not _fits_config(cfg, path)) and not any(
            key.endswith(('.dataset.images', '.dataset.masks')) for key in options):
        return _use_pairs(cfg, Path(path), names, scratch)
    elif 'bank' in (cfg.get('test_cfg') or {}):
        _use_class_folders(cfg, 'test', path, '--data')
        _name_data(cfg, path)
    else:
        _use_root(cfg, path)
        folders = [dataset for loader in filter(None, map(cfg.get, LOADERS)) for dataset in _plain(loader.dataset) if _is_folder(dataset)]
        if folders and 'num_classes' in cfg.get('model', {}):
            cfg.model.num_classes = len(class_names(folders[0].data_root))
            _name_data(cfg, path)
    return []


def _names(classes: Sequence[str]) -> list[str]:
    if len(classes) == 1 and Path(classes[0]).is_file():
        classes = read_lines(classes[0], 'class', 'write one on each line', unique=False)
    names = [name for each in classes for name in each.split(',') if name]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise InputError(f"--classes has '{twice}' twice: name each class once, in the order of the ids")
    return names


def _has_label_maps(cfg: Config) -> bool:
    """Whether mmseg reads the data."""
    loaders = [loader for loader in map(cfg.get, LOADERS) if loader]
    plain = [dataset for loader in loaders for dataset in _plain(loader.dataset)]
    return bool(plain) and all('seg_map_path' in (dataset.get('data_prefix') or {}) for dataset in plain)


def _parts(cfg: Config) -> list[tuple[str, ConfigDict]]:
    """Dataloaders of a config, with the part of a data set that each reads."""
    bank = (cfg.get('test_cfg') or {}).get('bank')
    loaders = [('train', cfg.get('train_dataloader') or bank), ('val', cfg.get('val_dataloader')), ('test', cfg.get('test_dataloader'))]
    return [(part, loader) for part, loader in loaders if loader]


def _use_coco(cfg: Config, path: Path, names: list[str] | None, options: Mapping[str, object], scratch: Path) -> list[str]:
    """Point at files of COCO; the heads have as many classes as these."""
    stages = {part: loader.dataset for part, loader in _parts(cfg)}
    plain = {part: _plain(dataset)[0] for part, dataset in stages.items()}
    given = {part: str(options[key]) for part in stages if (key := f'{part}_dataloader.dataset.ann_file') in options}
    if not given and path.is_dir() and all((path / dataset.ann_file).is_file() for dataset in plain.values()):
        _use_root(cfg, str(path))  # laid out as the config has it
        file = path / (plain.get('val') or plain['test']).ann_file  # the smaller one
        files, notes = {'val': CocoFile(file, check_coco(str(file)), path)}, []
    else:
        folders = {part: str(options[key]) for part in stages if (key := f'{part}_dataloader.dataset.data_prefix.img') in options}
        files = find_coco(path, given, folders)
        for part, file in files.items():
            if part != 'test' or file.content['annotations']:
                check_coco(str(file.path))
        single = files['train'].path if set(files) == {'train'} else None
        if single:
            files = hold_out(files['train'], scratch)
        notes = [f'{part}: {len(file.content["images"])} images in {single or file.path}' for part, file in files.items()]
        if single:
            notes.append(f'there is a single file, so every {HELD_OUT}th image validates')
        root = (path.parent if path.is_file() else path).resolve()  # below which options name files and folders
        files.setdefault('val', files.get('test', files['train']))
        if not files.get('test', files['val']).content['annotations']:
            files['test'] = files['val']
        for part, dataset in plain.items():
            file = files.get(part, files['val'])
            dataset.update(data_root=str(root), ann_file=str(file.path), data_prefix=dict(img=str(file.images)))
        for part in ('val', 'test'):
            if 'ann_file' in (cfg.get(f'{part}_evaluator') or {}):
                cfg[f'{part}_evaluator'].ann_file = str(files.get(part, files['val']).path)
        _rename_data(cfg, path)
    there = next(iter(files.values())).names
    if there != _known_classes(plain) and 'train' in plain and 'train' not in files:
        file = path / plain['train'].ann_file
        files['train'] = CocoFile(file, check_coco(str(file)), path)
    for file in files.values():
        if file.names != there:
            raise InputError(f"the files of COCO in '{path}' have different categories, {', '.join(there)} and {', '.join(file.names)}: "
                             'give them the same in the same order, by which classes are numbered')
        if file.stray:
            notes.append(f"{len(file.stray)} annotations of '{file.path}' are left out: its categories do not list their ids, first "
                         f'{file.stray[0]!r}')
    unknown = [name for name in names or () if name not in there]
    if unknown:
        raise InputError(f"--classes has '{unknown[0]}', and the categories of '{path}' are {', '.join(there)}: name some of these, or "
                         'leave it out for all of them')
    names = [name for name in there if not names or name in names]  # in the order by which mmdet numbers them
    if names != _known_classes(plain):
        _rename_data(cfg, path)
        for dataset in plain.values():
            dataset.metainfo = dict(classes=tuple(names))
        _set_classes(cfg.model, len(names))
        notes.append(f'{len(names)} classes: {_some(names)}')
    return notes


def _known_classes(plain: Mapping[str, ConfigDict]) -> list[str]:
    """Of the config, or of COCO."""
    dataset = next(iter(plain.values()))
    return list((dataset.get('metainfo') or {}).get('classes') or MMENGINE_DATASETS.get('mmdet.CocoDataset').METAINFO['classes'])


def _set_classes(node: object, number: int) -> None:
    """All heads of a model, however deep."""
    if isinstance(node, Mapping):
        if 'num_classes' in node:
            node['num_classes'] = number
        for key, child in node.items():
            if key != 'backbone':
                _set_classes(child, number)
    elif isinstance(node, (list, tuple)):
        for child in node:
            _set_classes(child, number)


def _fits_config(cfg: Config, root: str) -> bool:
    """Whether images with masks lie where the config says, and a ``classes.txt``, if there is one, names as many classes as it has."""
    listed = Path(root, 'classes.txt')
    head = next((node for node in (cfg.model, cfg.model.get('decode_head') or {}) if 'num_classes' in node), {})
    number = head.get('num_classes')
    named = number is not None and number + (head.get('ignore_index') == number)  # the list may name the void of the end
    if listed.is_file() and number is not None and len(_names([str(listed)])) not in (number, named):
        return False
    folders = [folder for _, loader in _parts(cfg) for plain in _plain(loader.dataset)
               for folder in ([plain.images, plain.masks] if 'masks' in plain else plain.data_prefix.values())]
    return all(_find(root, folder) for folder in folders)


def _use_pairs(cfg: Config, root: Path, names: list[str] | None, scratch: Path) -> list[str]:
    """Point at images with masks, by mmseg's data sets or :class:`mmdssl.datasets.SegmentedImages`."""
    if not root.is_dir():
        raise InputError(f"--data '{root}' is not a folder: give the one that holds folders of images and of masks")
    pairs = find_pairs(root)
    ids = ids_of(pairs['train'])
    if names is None and (root / 'classes.txt').is_file():
        names = _names([str(root / 'classes.txt')])
    if names is None:
        void = ' (255 is void)' if VOID in ids else ''
        raise InputError(f"the masks in '{pairs['train'].masks}' have the ids {_some(sorted(ids))}{void}, and "
                         f'nothing says what they are: give --classes NAME NAME ..., from 0 on, or write them to {root}/classes.txt')
    zero_is_void = names[0] == 'void'
    binary = check_ids(ids, names, pairs['train'].masks)
    names = names[zero_is_void:]
    notes, lists = [], {}
    for part, found in pairs.items():
        if found is not pairs['train'] or part == 'train':
            lists[part] = write_names(found, scratch / f'{part}.txt')
            notes.append(f'{part}: {len(found.stems)} images in {found.images}' + (
                f', {found.bare} more have no mask, or another ending than {found.image_suffix}, and are left out' if found.bare else ''))
    if pairs['val'].images == pairs['train'].images and pairs['val'] is not pairs['train']:
        notes.append(f'there are no folders train and val, so every {HELD_OUT}th image validates')
    elif pairs['val'] is pairs['train']:
        notes.append('there is no folder val, so that the images of the training validate: the scores say what was learnt by heart')
    for part, loader in _parts(cfg):
        part = part if part in pairs else 'val'
        labels = dict(names=names, zero_is_void=zero_is_void, binary=binary)
        loader.dataset = _masked_dataset(_plain(loader.dataset)[0], root, pairs[part], lists.get(part, lists['train']), **labels)
    _set_classes(cfg.model, len(names))
    for head in (cfg.model.get('decode_head'), cfg.model.get('auxiliary_head'), cfg.get('val_evaluator'), cfg.get('test_evaluator')):
        if isinstance(head, Mapping):
            head.pop('ignore_index', None)
    if 'seg_pad_val' in (cfg.model.get('data_preprocessor') or {}):
        cfg.model.data_preprocessor.seg_pad_val = VOID
    _rename_data(cfg, root)
    return [*notes, f'{len(names)} classes: {_some(names)}{", 0 is not counted" * zero_is_void}{", 255 is read as 1" * binary}']


def _masked_dataset(old: ConfigDict, root: Path, pairs: Pairs, listed: Path, names: list[str], zero_is_void: bool,
                    binary: bool) -> ConfigDict:
    root = root.resolve()
    images, masks = (str(folder.resolve().relative_to(root)) for folder in (pairs.images, pairs.masks))
    if 'masks' in old:
        old = ConfigDict({key: value for key, value in old.items() if key not in ('number', 'number_seed')})
        old.update(data_root=str(root), images=images, masks=masks, image_suffix=pairs.image_suffix, mask_suffix=pairs.mask_suffix,
                   names=str(listed), classes=names, reduce_zero_label=zero_is_void, ignore=[], binary=binary)
        return old
    labels = dict(num_classes=len(names), reduce_zero_label=zero_is_void, binary=binary)
    pipeline = []
    for step in old.pipeline:
        kind = step.type.rpartition('.')[2]
        if kind in ('LoadLabelMap', 'LoadAnnotations'):
            step = dict(type='mmdssl.LoadLabelMap', **labels)
        pipeline.append({key: value for key, value in step.items() if key != 'ignore_index'})
    return ConfigDict(
        type='BaseSegDataset', data_root=str(root), ann_file=str(listed), metainfo=dict(classes=tuple(names)), pipeline=pipeline,
        data_prefix=dict(img_path=images, seg_map_path=masks), img_suffix=pairs.image_suffix, seg_map_suffix=pairs.mask_suffix,
        reduce_zero_label=zero_is_void)


def _use_clips(cfg: Config, root: Path) -> list[str]:
    """Point at DAVIS, of whichever year, or at clips with masks."""
    if not root.is_dir():
        raise InputError(f"--data '{root}' is not a folder: give that of DAVIS, or one that holds folders of clips and of masks")
    dataset = cfg.test_dataloader.dataset
    dataset.data_root = str(root)
    for year in (dataset.get('year', '2017'), '2017', '2016', '480p'):
        listed = root / 'ImageSets' / year / f'{dataset.get("split", "val")}.txt'
        if listed.is_file():
            dataset.year = year
            record = (cfg.get('default_hooks') or {}).get('record') or {}
            if FIRST_CLIPS.get(record.get('dataset')) not in listed.read_text(errors='replace').split():
                _rename_data(cfg, root)
            return []
    if (root / 'ImageSets').is_dir():  # which says what is missing
        return []
    dataset.update(split=None, **find_clips(root))
    _rename_data(cfg, root)
    return [f'clips: {root / dataset.frames}, masks: {root / dataset.masks}']


def _rename_data(cfg: Config, path: Path) -> None:
    """Results must not be taken for those of the data set of the config."""
    record = (cfg.get('default_hooks') or {}).get('record') or {}
    if record.get('dataset'):
        record.dataset = path.resolve().stem


def _some(names: Sequence[object]) -> str:
    return ', '.join(map(str, names[:20])) + (' ...' if len(names) > 20 else '')


def fit_images(cfg: Config) -> None:
    """Give protocols images of the size that a small network was pretrained on, where the config has larger ones."""
    backbone = plain_config(cfg.model.backbone)
    frame = backbone.get('img_size') or backbone.get('model_args', {}).get('img_size')
    if isinstance(frame, int):
        for loader in (cfg.get('test_dataloader'), cfg.test_cfg.get('bank')):
            dataset = loader.dataset
            if 'resize' in dataset and dataset.get('size', 0) > frame:
                dataset.resize, dataset.size = round(dataset.resize * frame / dataset.size), frame


def use_labels(cfg: Config, folder: str) -> None:
    """Validate by k-NN on other labelled images."""
    if not cfg.get('val_cfg') or 'bank' not in cfg.val_cfg:
        raise InputError(f'--knn has nothing to change: {cfg.filename} has no val_cfg of type ProtocolLoop')
    _use_class_folders(cfg, 'val', folder, '--knn')


def use_masks(cfg: Config, folder: str) -> None:
    """Validate by the nearest patches of a small memory too, beside k-NN.

    Args:
        cfg: The config, changed in place.
        folder: With ``images/train``, ``images/val`` and masks in ``annotations/train`` and ``annotations/val``, and in ``classes.txt``
            names of the ids of masks from 0; or, as ADE20K, ``training`` and ``validation``, where 0 is not counted and names begin with 1.
            Images have twice the side of those of k-NN.

    Raises:
        InputError: Something is not there.
    """
    if not Path(folder).is_dir():
        raise InputError(f"--dense '{folder}' is not a folder: it needs {DENSE_FOLDERS}")
    if not cfg.get('val_cfg') or 'bank' not in cfg.val_cfg:
        raise InputError('--dense measures patches beside k-NN, which is off: give --knn FOLDER too, or a config with a val_cfg of type '
                         'ProtocolLoop')
    loader = {key: value for key, value in cfg.val_dataloader.items() if key != 'dataset'}
    like_ade20k = Path(folder, 'images/training').is_dir()
    names = {} if not like_ade20k or Path(folder, 'classes.txt').is_file() else dict(classes=[str(i) for i in range(1, 151)])
    parts = {}
    for part, name, number in (('bank', 'training', DENSE_BANK), ('queries', 'validation', DENSE_QUERIES)):
        images, masks = (_find(folder, f'{kind}/{name}') for kind in ('images', 'annotations'))
        if not images or not masks:
            lacking = f'{"annotations" if images else "images"}/{name if like_ade20k else SYNONYMS[name]}'
            raise InputError(f"--dense '{folder}' has no folder '{lacking}': it needs {DENSE_FOLDERS}")
        dataset = dict(
            type='mmdssl.SegmentedImages', data_root=folder, images=images, masks=masks,
            image_suffix=_suffix(Path(folder, images)), reduce_zero_label=like_ade20k, size=2 * cfg.val_dataloader.dataset.size,
            number=number, **names)
        parts[part] = dict(loader, batch_size=max(1, loader['batch_size'] // 8), dataset=dataset)
    cfg.val_cfg.dense = parts
    evaluators = cfg.val_evaluator if isinstance(cfg.val_evaluator, list) else [cfg.val_evaluator]
    cfg.val_evaluator = [*evaluators, dict(type='mmdssl.HummingbirdMetric', memory_size=DENSE_MEMORY)]


def _suffix(folder: Path) -> str:
    """That of most of the images in a folder."""
    return Counter(Path(path).suffix for path in find_images(str(folder))).most_common(1)[0][0]


def _use_class_folders(cfg: Config, stage: str, folder: str, option: str) -> None:
    datasets = cfg[f'{stage}_dataloader'].dataset, cfg[f'{stage}_cfg'].bank.dataset
    if all('split' in dataset for dataset in datasets):  # of a data set whose parts lie in one folder
        for dataset in datasets:
            dataset.data_root = folder
        return
    if all('masks' in dataset for dataset in datasets):
        for dataset, place in zip(datasets, (f'{stage}_dataloader', f'{stage}_cfg.bank')):  # whose folders may have their other usual names
            dataset.update(data_root=folder, **{part: _existing(folder, dataset[part], f'{place}.dataset.{part}') for part in FOLDERS})
        return
    for part in ('train', 'val'):
        if not Path(folder, part).is_dir():
            raise InputError(f"{option} '{folder}' has no folder '{part}': it needs train/ and val/ with one folder per "
                             'class')
    cfg[f'{stage}_dataloader'].dataset.data_root = str(Path(folder, 'val'))
    cfg[f'{stage}_cfg'].bank.dataset.data_root = str(Path(folder, 'train'))


def _name_data(cfg: Config, path: str) -> None:
    record = cfg.default_hooks.get('record') or {}
    if record.get('dataset') == 'imagenet-1k' and not _is_imagenet(Path(path)):
        record.dataset = Path(path).resolve().name


def _is_imagenet(folder: Path) -> bool:
    """By the names of its 1000 classes: other numbers would stand beside published ones that are of other data."""
    classes = [entry.name for entry in Path(folder, 'val').iterdir() if entry.is_dir()]
    return len(classes) == 1000 and all(re.fullmatch(r'n\d{8}', name) for name in classes)


def _tars(path: str | Sequence[str]) -> dict | None:
    """The source of images that are in tars: a folder that holds no others, a file, a pattern, an address, several; None for other data."""
    paths = [path] if isinstance(path, str) else [*path]
    if len(paths) == 1 and (os.path.isdir(paths[0]) or not TAR.search(paths[0])):
        is_folder = is_address(paths[0]) or os.path.isdir(paths[0]) and _holds_only_tars(paths[0])
        return dict(type='mmdssl.TarImages', data_root=paths[0]) if is_folder else None
    if not all(map(TAR.search, paths)):
        return None
    plain = [each if os.path.exists(each) else re.match(r'[^*?\[{]*', each)[0] for each in paths]
    root = os.path.commonprefix(plain)  # noqa: RUF071, of addresses commonpath makes one slash of two
    root = root[:root.rfind('/') + 1]
    names = sorted(each[len(root):] for each in paths)
    if len(names) > 1 and not is_address(root) and names == sorted(glob('*.tar', root_dir=root or None)):  # as a shell wrote out
        names = ['*.tar']
    return dict(type='mmdssl.TarImages', data_root=root.rstrip('/') or root or '.', shards=names)


def _holds_only_tars(folder: str) -> bool:
    """Whether there are tars below a folder, and no images."""
    found = False
    for _, _, names in os.walk(folder, followlinks=True):
        if any(name.lower().endswith(IMG_EXTENSIONS) for name in names):
            return False
        found = found or any(map(TAR.search, names))
    return found


def _use_images(cfg: Config, path: str, tars: dict | None, folder: object = None) -> None:
    """Train on other images, in the same views."""
    if tars:
        source = tars
        if is_address(tars['data_root']):
            cfg.train_dataloader.sampler['shards_together'] = SHARDS_TOGETHER
    elif Path(path).is_dir():
        source = dict(type='mmdssl.ImageFolder', data_root=path)
    elif path.endswith('.json'):
        source = dict(type='mmdssl.CocoImages', ann_file=path, data_prefix=dict(img=str(folder or _coco_folder(Path(path)))))
    else:
        source = dict(type='mmdssl.ImageList', ann_file=path)
    old = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = ConfigDict(source, **{key: old[key] for key in SHARED_BY_SOURCES if key in old})


def _coco_folder(ann_file: Path) -> Path:
    """The folder of the images of ``annotations/instances_train2017.json``: ``train2017`` beside it, as COCO has it."""
    try:
        first = os.fspath(json.loads(ann_file.read_text())['images'][0]['file_name'])
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(f"--data '{ann_file}' is not a COCO json ({type(error).__name__}: {error}): it needs images "
                         'with a file_name each') from None
    root = ann_file.absolute().parent.parent
    folders = [root / ann_file.stem.split('_', 1)[-1], root / 'images', root, ann_file.parent / 'images',
               ann_file.parent]
    for folder in folders:
        if (folder / first).is_file():
            return folder
    raise InputError(f"{first}, the first image of '{ann_file}', is in none of {', '.join(map(str, folders))}: set the "
                     'folder with --cfg-options train_dataloader.dataset.data_prefix.img=FOLDER')


def _use_root(cfg: Config, root: str) -> None:
    """Move the data sets of a config, whose folders may also have their other usual names."""
    for name in filter(cfg.get, LOADERS):
        datasets = _plain(cfg[name].dataset)
        for i, dataset in enumerate(datasets):
            if _is_folder(dataset):  # of one part, train or val, with a folder for each class
                dataset.data_root = os.path.join(root, _existing(root, os.path.basename(dataset.data_root), f'the {name}'))
                continue
            dataset.data_root = root
            for key, folder in (dataset.get('data_prefix') or {}).items():
                inside = f'datasets.{i}.' if len(datasets) > 1 else ''
                dataset.data_prefix[key] = _existing(root, folder, f'{name}.dataset.{inside}data_prefix.{key}')
    for part in ('val', 'test'):
        if 'ann_file' in (cfg.get(f'{part}_evaluator') or {}):
            cfg[f'{part}_evaluator'].ann_file = os.path.join(root, cfg[f'{part}_dataloader'].dataset.ann_file)


def _has(node: object, position: str) -> bool:
    return isinstance(node, (list, tuple)) and position.isdecimal() and int(position) < len(node)


def _is_folder(dataset: ConfigDict | None) -> bool:
    return (dataset or {}).get('type', '').rpartition('.')[2] == 'LabelledFolder'


def _plain(dataset: ConfigDict) -> list[ConfigDict]:
    """The configs of the data sets inside wrappers that repeat or concatenate them."""
    inside = dataset.get('datasets') or [part for part in [dataset.get('dataset')] if part]
    return [plain for part in inside for plain in _plain(part)] if inside else [dataset]


def _existing(root: str, folder: str, place: str) -> str:
    found = _find(root, folder)
    if found is None:
        instead = '' if ' ' in place else f", or say which it is below '{root}' with --cfg-options {place}=FOLDER"
        raise InputError(f"'{root}' has no folder '{folder.strip('/')}', which {place} of the config reads: call the folder so{instead}")
    return found


def _find(root: str, folder: str) -> str | None:
    short = '/'.join(SYNONYMS.get(part, part) for part in folder.strip('/').split('/'))
    for candidate in (folder, short, f'images/{short}'):
        if Path(root, candidate).is_dir():
            return candidate
    return None
