"""Mistakes in labelled data that mmdet and mmseg answer with a traceback, or not at all."""
from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from traceback import walk_tb
from typing import Any

from mmengine.dataset import BaseDataset, Compose
from mmengine.fileio import load
from torchvision.datasets.folder import IMG_EXTENSIONS

from mmdssl.arguments import PositiveInt, fits, refusal
from mmdssl.errors import InputError

Id = int | str
COCO_KINDS = dict(
    images=dict(id=Id, file_name=str, height=PositiveInt, width=PositiveInt),
    annotations=dict(id=Id, image_id=Id, category_id=Id, bbox=tuple[float, float, float, float], area=float),
    categories=dict(id=Id, name=str))
SHOWN = 5


def plain_datasets(dataset) -> Iterator:
    """The datasets inside wrappers that repeat, concatenate or mix them; a dataset without wrapper is its only one."""
    inside = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    for part in inside:
        yield from [dataset] if part is None else plain_datasets(part)


def check_labelled_data(dataset) -> Iterator[str]:
    """Look through a dataset of mmdet or mmseg, with or without wrappers.

    Yields:
        Warnings: images that are not used; unusable annotations, which mmdet leaves out of training but not out of its evaluation.

    Raises:
        InputError: Images or label maps do not exist, a COCO json has none of the dataset's classes, or a transform cannot take
            the first sample.
    """
    for plain in plain_datasets(dataset):
        if isinstance(plain, BaseDataset):
            _require_files(plain)
            _require_images(plain)
        for transform in getattr(getattr(plain, 'pipeline', None), 'transforms', []):
            if hasattr(transform, 'check_labels'):
                transform.check_labels(plain)
        if hasattr(plain, 'cat2label'):  # mmdet's datasets of a COCO json
            yield from _check_annotations(plain)
        elif isinstance(plain, BaseDataset) and (unused := unused_images(plain)):
            yield unused
        if getattr(getattr(plain, 'pipeline', None), 'transforms', None) and len(plain):
            _try_pipeline(plain)


def unused_images(dataset, coco: Mapping | None = None) -> str:
    """Of the images of a dataset of mmdet or mmseg, without wrappers, how many are not used and why; nothing where all are."""
    if left_out := getattr(dataset, 'left_out', None):  # of pretraining, which is told while it looks for images
        return '; '.join(left_out)
    used, reasons = len(dataset), Counter()
    if hasattr(dataset, 'cat2label'):
        kept = {dataset.get_data_info(index)['img_id'] for index in range(used)}
        smallest = (dataset.filter_cfg or {}).get('min_size', 0)
        for image in (coco or load(dataset.ann_file, 'json', backend_args=dataset.backend_args))['images']:
            if image['id'] not in kept:
                if min(image['width'], image['height']) < smallest:
                    reasons[f'smaller than {smallest} px (filter_cfg.min_size)'] += 1
                else:
                    reasons['without an object of the classes (filter_cfg.filter_empty_gt)'] += 1
    elif hasattr(dataset, 'img_suffix') and not os.path.isfile(dataset.ann_file):  # which would list the images
        names = (name for _, _, names in os.walk(dataset.data_prefix.get('img_path') or '') for name in names)
        others = sum(name.lower().endswith(IMG_EXTENSIONS) and not name.endswith(dataset.img_suffix) for name in names)
        reasons.update({f'not ending with {dataset.img_suffix} (img_suffix)': others} if others else {})
    if not reasons:
        return ''
    source = source_of(dataset)
    why = ', '.join(f'{number} are {reason}' for reason, number in reasons.items())
    return f"{used} of the {used + reasons.total()} images of '{source}' are used: {why}"


def left_out(dataset) -> Iterator[str]:
    """What is not used of a dataset of mmdet, mmseg or pretraining, without wrappers: images and annotations, and why."""
    coco = load(dataset.ann_file, 'json', backend_args=dataset.backend_args) if hasattr(dataset, 'cat2label') else None
    return filter(None, (unused_images(dataset, coco), unusable_annotations(dataset, coco) if coco else ''))


def unusable_annotations(dataset: BaseDataset, coco: Mapping) -> str:
    """Of a dataset of mmdet, how many annotations are no objects and why; nothing where all are."""
    wrong = _wrong_annotations(coco)
    if dataset.test_mode and any(annotation['id'] == 0 for annotation in coco.get('annotations', [])):
        wrong["with the id 0, which COCO's evaluation takes for none: number them from 1"] = [0]
    if not wrong:
        return ''
    found = ', '.join(f'{len(ids)} {kind} (id {_some(ids)})' for kind, ids in wrong.items())
    return f"Unusable annotations in '{source_of(dataset)}' {'may lower the scores' if dataset.test_mode else 'are left out'}: {found}"


def source_of(dataset: BaseDataset) -> str:
    """Where the images of a dataset are named, for people: of a file that was made for a run, what that is of."""
    source, = dataset.metainfo.get('source') or ('', )
    return source or dataset.ann_file or dataset.data_root or type(dataset).__name__


@contextmanager
def explain_unusable_data(cfg: Mapping) -> Iterator[None]:
    """Say in an InputError what is wrong with the data where something that reads it cannot be built.

    Args:
        cfg: Config of a dataset, with or without wrappers, or of a metric with an ``ann_file``.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        readers = list(_readers(cfg))
        for ann_file in readers:
            if ann_file.endswith('.json'):
                check_coco(ann_file)
        if isinstance(error, OSError) or 'Failed to load `ann_file`' in str(error):
            raise InputError(f'the data cannot be read ({error}): check data_root, data_prefix and ann_file') from error
        if 'need at least one array' in str(error):
            where = ', '.join(readers) or 'the data_prefix'
            raise InputError(f'no image of {where} can be used: check img_suffix, and that the classes of the dataset '
                             '(metainfo) are those of the file') from error
        raise


def check_coco(path: str) -> dict:
    """The content of a local file; an InputError unless it is a COCO json of boxes."""
    try:
        with open(path, encoding='utf-8') as file:
            coco = json.load(file)
    except OSError as error:
        raise InputError(f"'{path}' cannot be opened ({error.strerror}): set data_root and ann_file to a COCO "
                         'json') from None
    except ValueError as error:
        raise InputError(f"'{path}' is not valid JSON ({error}): it may be cut off, copy or download it "
                         'again') from None
    for part, kinds in COCO_KINDS.items():
        entries = coco.get(part) if isinstance(coco, dict) else None
        if not isinstance(entries, list) or not entries:
            raise InputError(f"'{path}' has no '{part}': set ann_file to a COCO json")
        for position, entry in enumerate(entries):
            for key, kind in kinds.items():
                if not isinstance(entry, Mapping) or key not in entry:
                    raise InputError(f"entry {position} of '{part}' in '{path}' has no '{key}': add it or remove the "
                                     'entry')
                if not fits(entry[key], kind):
                    raise InputError(f"entry {position} of '{part}' in '{path}' has {refusal(key, entry[key], kind)}")
        twice = next((entry for entry, number in Counter(entry['id'] for entry in entries).items() if number > 1), None)
        if twice is not None:
            raise InputError(f"'{path}' has more than one of its {part} with the id {twice}: number them anew")
    return coco


def _readers(cfg: Mapping) -> Iterator[str]:
    """Paths of the local annotation files in a config."""
    for part in [*cfg.get('datasets', []), *filter(None, [cfg.get('dataset')])]:
        yield from _readers(part)
    path = os.path.join(cfg.get('data_root') or '', cfg.get('ann_file') or '')
    if cfg.get('ann_file') and '://' not in path:
        yield path


def _require_files(dataset: BaseDataset) -> None:
    if (getattr(dataset, 'backend_args', None) or {}).get('backend', 'local') != 'local':
        return
    paths: dict[str, list[str]] = {'img_path': [], 'seg_map_path': []}
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        for key, found in paths.items():
            if info.get(key) and '://' not in info[key]:
                found.append(info[key])
    source = source_of(dataset)
    for kind, found in zip(('images', 'label maps'), paths.values()):
        missing = [path for path in found if not os.path.isfile(path)]
        if missing:
            raise InputError(f"{len(missing)} of the {len(found)} {kind} of '{source}' do not exist, first "
                             f'{", ".join(missing[:3])}: check data_root and data_prefix, or get the missing files')


def _try_pipeline(dataset: BaseDataset) -> None:
    """Load a sample in this process, where an error still tells which transform it comes from; it draws random numbers."""
    try:
        dataset[0]
    except InputError:
        raise
    except Exception as error:
        calls = [frame.f_locals['t'] for frame, _ in walk_tb(error.__traceback__) if frame.f_code is Compose.__call__.__code__]
        if not calls or type(calls[-1]).__module__.startswith('mmdssl.'):
            raise
        reason = ' '.join(str(error).split())
        raise InputError(f"{type(calls[-1]).__name__} in the pipeline of '{source_of(dataset)}' cannot transform its "
                         f'first sample ({type(error).__name__}: {reason}): correct the arguments of {calls[-1]!r:.300}') from error


def _check_annotations(dataset: BaseDataset) -> Iterator[str]:
    source = source_of(dataset)
    coco = load(dataset.ann_file, 'json', backend_args=dataset.backend_args)
    if not dataset.cat_ids:
        names = [category['name'] for category in coco['categories']]
        raise InputError(f"'{source}' has none of the dataset's classes, but {_some(names)}: set "
                         'metainfo=dict(classes=...) to these, and num_classes of the heads to their number')
    if not coco.get('annotations') and not dataset.test_mode:
        raise InputError(f"'{source}' has no annotations to train on: set ann_file to the file that has them")
    _check_segmentations(source, coco)
    if any(getattr(transform, 'with_mask', False) for transform in dataset.pipeline.transforms):
        bare = [annotation['id'] for annotation in coco.get('annotations', []) if annotation['category_id'] in dataset.cat_ids
                and not annotation.get('segmentation') and not annotation.get('ignore')]
        wrong = {one for ids in _wrong_annotations(coco).values() for one in ids}
        bare = [one for one in bare if one not in wrong]
        if bare:
            raise InputError(f"{len(bare)} annotations in '{source}' have no segmentation (id {_some(bare)}), which the "
                             'masks of this config are made of: add them, or leave out those of all annotations, and --data ROOT trains on '
                             'boxes alone')
    known, names = dataset.metainfo['classes'], [category['name'] for category in coco['categories']]
    strange, lacking = ([name for name in some if name not in others] for some, others in ((names, known), (known, names)))
    if lacking:
        yield (f"of the {len(known)} classes, '{source}' has {len(known) - len(lacking)}, and {len(strange)} categories that are "
               f'none of them ({_some(strange) or "-"}): if these are your own data, --data ROOT sets classes and num_classes to theirs')
    yield from filter(None, (unused_images(dataset, coco), unusable_annotations(dataset, coco)))


def _require_images(dataset: BaseDataset) -> None:
    """mmseg's datasets of folders leave out label maps without an image, and images that are no files, without a word."""
    suffix, prefix = getattr(dataset, 'seg_map_suffix', None), dataset.data_prefix
    folder = prefix.get('seg_map_path')
    if not suffix or not folder or not os.path.isdir(folder) or os.path.isfile(dataset.ann_file) or dataset._indices is not None:
        return
    used = {os.path.normpath(dataset.get_data_info(index)['seg_map_path']) for index in range(len(dataset))}
    there = [os.path.join(parent, name) for parent, _, names in os.walk(folder) for name in sorted(names) if name.endswith(suffix)]
    alone = [path for path in there if os.path.normpath(path) not in used]
    if alone:
        raise InputError(f"{len(alone)} of the {len(there)} label maps in '{folder}' have no image '*{dataset.img_suffix}' in "
                         f"'{prefix.get('img_path')}', first {alone[0]}: add the images, or remove the label maps")


def _check_segmentations(ann_file: str, coco: Mapping) -> None:
    """Raise an InputError for one that is neither polygons near the image nor a mask of its size: some end the process."""
    images = {image['id']: image for image in coco['images']}
    for annotation in coco.get('annotations', []):
        segmentation, image = annotation.get('segmentation'), images.get(annotation.get('image_id'))
        if not segmentation or image is None:
            continue
        if isinstance(segmentation, Mapping):
            right = segmentation.get('size') == [image['height'], image['width']] and _is_run_length(segmentation.get('counts'), image)
        else:
            right = isinstance(segmentation, list) and all(_is_polygon(polygon, image) for polygon in segmentation)
        if not right:
            raise InputError(f"the segmentation of annotation {annotation['id']} in '{ann_file}' is neither a list of polygons [x1, y1, "
                             'x2, y2, x3, y3, ...] at the image nor a mask of its size: correct it or remove the annotation')


def _is_polygon(polygon: Any, image: Mapping) -> bool:
    limit = 10 * max(image['height'], image['width'])
    return (isinstance(polygon, list) and len(polygon) >= 6 and len(polygon) % 2 == 0
            and all(isinstance(number, (int, float)) and abs(number) <= limit for number in polygon))


def _is_run_length(counts: Any, image: Mapping) -> bool:
    if isinstance(counts, list):
        return all(isinstance(count, int) for count in counts) and sum(counts) == image['height'] * image['width']
    return isinstance(counts, str)


def _wrong_annotations(coco: Mapping) -> dict[str, list]:
    """Ids of those that mmdet's datasets pass over, by what is wrong with them."""
    images = {image['id']: image for image in coco['images']}
    categories = {category['id'] for category in coco['categories']}
    wrong = defaultdict(list)
    for annotation in coco.get('annotations', []):
        if 'bbox' in annotation and not annotation.get('ignore'):  # panoptic ones have none
            image = images.get(annotation['image_id'])
            x, y, width, height = annotation['bbox']
            if image is None:
                wrong['of an unknown image'].append(annotation['id'])
            elif annotation['category_id'] not in categories:
                wrong['of an unknown category'].append(annotation['id'])
            elif width < 1 or height < 1 or annotation['area'] <= 0:
                wrong['without area'].append(annotation['id'])
            elif not (x < image['width'] and y < image['height'] and x + width > 0 and y + height > 0):
                wrong['outside the image'].append(annotation['id'])
    return wrong


def _some(values: list) -> str:
    return ', '.join(map(str, values[:SHOWN])) + (' ...' if len(values) > SHOWN else '')
