"""Point a config at other data than it names."""
from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from glob import escape, glob
from pathlib import Path

from mmengine.config import Config, ConfigDict
from torchvision.datasets.folder import IMG_EXTENSIONS

from mmdssl.datasets.davis import find_year
from mmdssl.datasets.images import find_images
from mmdssl.datasets.labelled_folder import class_names
from mmdssl.datasets.own import find_clips, require_readable
from mmdssl.datasets.tars import is_address
from mmdssl.engine import own_config
from mmdssl.engine.own_config import LOADERS, SYNONYMS, existing, find_folder, is_folder, plain
from mmdssl.engine.own_masks import class_list, fits_config, use_pairs
from mmdssl.engine.own_objects import use_coco
from mmdssl.errors import InputError
from mmdssl.models.backbones.names import plain_config

SHARED_BY_SOURCES = ('views', 'pipeline', 'backend', 'photometric_device', 'scaled_decoding')
FOLDERS = 'images', 'masks'
TAR = re.compile(r'\.(tar(\.\w+)?|tgz)$')  # the compressed ones too, of which the data set says what is wrong
SHARDS_TOGETHER = 16  # tars behind an address among which images are shuffled
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
            :mod:`mmdssl.datasets.own` and its neighbours find it, where classes are those of the data and the model follows their number.
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
    if tars is None:
        require_readable(Path(path))
    datasets = [dataset for loader in filter(None, map(cfg.get, LOADERS)) for dataset in plain(loader.dataset)]
    kinds = {dataset.get('type', '').rpartition('.')[2] for dataset in datasets}
    options, scratch = options or {}, Path(scratch or Path(cfg.get('work_dir') or 'work_dirs', 'data'))
    names, masked = class_list(classes) if classes else None, own_config.has_label_maps(cfg) or kinds == {'SegmentedImages'}
    if names and not (masked or kinds & {'CocoDataset', 'SegmentedImages', 'DAVIS'}):
        raise InputError(f'--classes names those of objects or masks, and {cfg.filename} reads none, or its data have them: leave it out')
    if pretrains:
        _use_images(cfg, path, tars, options.get('train_dataloader.dataset.data_prefix.img'))
        if not knn:  # what the config says of k-NN belongs to its own images
            cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
        return []
    if kinds == {'CocoDataset'}:
        return use_coco(cfg, Path(path), names, options, scratch)
    if kinds == {'DAVIS'}:
        return _use_clips(cfg, Path(path))
    if masked and (names or not fits_config(cfg, path)) and not any(key.endswith(('.dataset.images', '.dataset.masks')) for key in options):
        return use_pairs(cfg, Path(path), names, scratch)
    if 'bank' in (cfg.get('test_cfg') or {}):
        _use_class_folders(cfg, 'test', path, '--data')
    else:
        own_config.use_root(cfg, path)
        folders = [*filter(is_folder, datasets)]
        if folders and 'num_classes' in cfg.get('model', {}):
            cfg.model.num_classes = len(class_names(folders[0].data_root))
    own_config.name_data(cfg, path)
    return []


def _use_clips(cfg: Config, root: Path) -> list[str]:
    """Point at DAVIS, of whichever year, or at clips with masks."""
    if not root.is_dir():
        raise InputError(f"--data '{root}' is not a folder: give that of DAVIS, or one that holds folders of clips and of masks")
    dataset = cfg.test_dataloader.dataset
    dataset.data_root = str(root)
    dataset.year = find_year(root, dataset.get('split', 'val'), dataset.get('year', '2017'))
    own_config.name_data(cfg, root)
    if (root / 'ImageSets').is_dir():  # of which the data set says what is missing
        return []
    dataset.update(split=None, **find_clips(root))
    return [f'clips: {root / dataset.frames}, masks: {root / dataset.masks}']


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
        images, masks = (find_folder(folder, f'{kind}/{name}') for kind in ('images', 'annotations'))
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
            dataset.update(data_root=folder, **{part: existing(folder, dataset[part], f'{place}.dataset.{part}') for part in FOLDERS})
        return
    for part in ('train', 'val'):
        if not Path(folder, part).is_dir():
            raise InputError(f"{option} '{folder}' has no folder '{part}': it needs train/ and val/ with one folder per "
                             'class')
    cfg[f'{stage}_dataloader'].dataset.data_root = str(Path(folder, 'val'))
    cfg[f'{stage}_cfg'].bank.dataset.data_root = str(Path(folder, 'train'))


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
    names = [escape(name) if os.path.exists(root + name) else name for name in names]  # it may be called 'x[1].tar'
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


def _has(node: object, position: str) -> bool:
    return isinstance(node, (list, tuple)) and position.isdecimal() and int(position) < len(node)


