"""Write the sample world to disk, in the layouts of well-known data sets; those of the frozen dense protocols have a module each."""
from __future__ import annotations

import json
import signal
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import shapely
from PIL import Image

from mmdssl.arguments import NonNegativeInt, PositiveInt, at_least, checked
from mmdssl.datasets.palette import save_mask
from mmdssl.errors import InputError
from mmdssl.news import with_bar

from . import jhmdb, nyu, saliency, scenes, spair, vip, voc
from .files import SCENE_SIZE, box_of, save
from .render import FIRST_THING, render
from .textures import GROUNDS

CLIP_SIZE = (192, 112)
SEGMENTS = ('sky', *GROUNDS, *scenes.KINDS)
_VERSION = 2
OfTenClasses = Annotated[int, at_least(10)]
TrainVal = tuple[NonNegativeInt, NonNegativeInt]
TrainValTest = tuple[NonNegativeInt, NonNegativeInt, NonNegativeInt]
SPLITS = ('train', 'val', 'test')
_SPLITS = dict(train='training', val='validation')  # of ADE20K, COCO and DAVIS
_LAYOUTS = dict(voc=voc, saliency=saliency, jhmdb=jhmdb, vip=vip, spair=spair, nyu=nyu)


@checked
def make_sample_world(root: str | Path, seed: NonNegativeInt = 0, train: OfTenClasses = 2000, val: OfTenClasses = 400,
                      size: Annotated[int, at_least(16)] = 96, coco: TrainVal = (48, 16), ade20k: TrainVal = (32, 8),
                      clips: TrainVal = (2, 3), frames: Annotated[int, at_least(2)] = 16, voc: TrainVal = (0, 0),
                      saliency: NonNegativeInt = 0, jhmdb: TrainVal = (0, 0), vip: TrainVal = (0, 0), spair: TrainValTest = (0, 0, 0),
                      nyu: TrainVal = (0, 0), workers: PositiveInt = 2) -> None:
    """Render a small world, with all its labels, into a folder that is complete or not there.

    ``root`` gets ``imagenet`` (class folders), ``coco``, ``ade20k`` and ``davis``, each laid out as the real set, those of ``voc``,
    ``saliency``, ``jhmdb``, ``vip``, ``spair`` and ``nyu`` that are asked for, and ``world.json`` with the parameters. An item depends
    on the seed and its index alone: more items or other workers do not change it. A root that holds this very world already is left
    alone.

    Args:
        root: Folder to make.
        seed: What all randomness comes from.
        train: Number of images in ``imagenet/train``, taken from the ten classes in turn.
        val: Number of images in ``imagenet/val``.
        size: Height and width of the ImageNet images, pixels.
        coco: Number of COCO images for training and for validation; of 6, two have a crowd and one has no object.
        ade20k: Number of ADE20K images for training and for validation.
        clips: Number of DAVIS sequences for training and for validation; an object leaves the 2nd, 5th, 8th ...
        frames: Length of all sequences.
        voc: Number of images of Pascal VOC 2012 for training and for validation.
        saliency: Number of images of ECSSD.
        jhmdb: Number of JHMDB clips for training and for test (split 1).
        vip: Number of VIP videos for training and for validation.
        spair: Number of images of SPair-71k for training, validation and test, taken from the ten classes in turn; all pairs of a class
            within a split that share three visible keypoints are written.
        nyu: Number of images of NYU depth for training and for test, in BTS's layout.
        workers: Processes that render.

    Raises:
        InputError: ``root`` holds something else or cannot be made, or a number is out of range.
    """
    root = Path(root).absolute()
    asked = dict(voc=voc, saliency=(0, saliency), jhmdb=jhmdb, vip=vip, spair=spair, nyu=nyu)
    asked = {kind: list(numbers) for kind, numbers in asked.items() if any(numbers)}
    parameters = dict(version=_VERSION, seed=seed, train=train, val=val, size=size, coco=list(coco),
                      ade20k=list(ade20k), clips=list(clips), frames=frames, **asked)
    about = root / 'world.json'
    if about.is_file() and json.loads(about.read_text()) == parameters:
        print(f'{root} holds this sample world already.')
        return
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise InputError(f"'{root}' holds something else than the sample world that is asked for: remove it, or name another folder")
    # The long items first, so that the workers end together.
    counts = dict(davis=clips, **asked, coco=coco, ade20k=ade20k, imagenet=(train, val))
    counts = {kind: counts[kind] for kind in ('davis', 'jhmdb', 'vip') if kind in counts} | counts
    items = [(kind, split, index) for kind, numbers in counts.items() for split, number in zip(SPLITS, numbers)
             for index in range(number)]
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the folder '{root}' cannot be made ({error.strerror}): name another") from None
    with tempfile.TemporaryDirectory(prefix=f'.{root.name}-', dir=root.parent) as temporary:
        folder = Path(temporary) / 'world'
        # Ctrl-C reaches these processes too, and it is this one that ends them.
        with ProcessPoolExecutor(workers, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN)) as pool:
            try:
                results = pool.map(partial(_write_item, folder, seed, size, frames), items, chunksize=4)
                results = list(with_bar(results, len(items), f'Rendering {root.name}'))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        _write_lists(folder, items, results)
        for kind in asked:
            entries = {split: [result for item, result in zip(items, results) if item[:2] == (kind, split)] for split in SPLITS}
            _LAYOUTS[kind].write_lists(folder / kind, entries)
        (folder / about.name).write_text(json.dumps(parameters))
        folder.rename(root)


def _write_item(folder, seed, size, frames, item):
    kind, split, index = item
    rng = np.random.default_rng([seed, list(_WRITERS).index(kind), SPLITS.index(split), index])
    options = dict(imagenet=dict(size=size), davis=dict(frames=frames), jhmdb=dict(frames=frames), vip=dict(frames=frames))
    return _WRITERS[kind](folder / kind, rng, split, index, **options.get(kind, {}))


def _write_imagenet(folder, rng, split, index, size):
    label = index % len(scenes.CLASSES)
    shape, pattern = scenes.CLASSES[label]
    image = Image.fromarray(render(scenes.photo(rng, label), size, size)[0])
    # As in ImageNet, a few files are grayscale.
    image = image.convert('L') if index % 61 == 17 else image
    save(image, folder / split / f'{pattern}_{shape}' / f'{split}_{index:08d}.jpg')


def _write_coco(folder, rng, split, index):
    """Render one image and return its entries of the annotation file. Some images have a crowd, some no object."""
    count, crowd = (0, False) if index % 8 == 5 else (rng.integers(5, 14), index % 4 == 1)
    scene = scenes.gathering(rng, count, crowd)
    image, numbers = render(scene, *SCENE_SIZE)
    image_id = index + 1 + 500000 * (split == 'val')
    save(Image.fromarray(image), folder / f'{split}2017' / f'{image_id:012d}.jpg')
    things = [(thing, numbers == number) for number, thing in enumerate(scene.things, FIRST_THING)
              if thing.shape in scenes.KINDS]
    masks = [(thing, mask) for thing, mask in things if not thing.crowd]
    if crowd:
        flock = [(thing, mask) for thing, mask in things if thing.crowd]
        masks.append((flock[0][0], np.any([mask for _, mask in flock], axis=0)))
    annotations = []
    for thing, mask in masks:
        if mask.sum() < 16:
            continue
        left, top, right, bottom = box_of(mask)
        annotations.append(dict(
            id=100 * image_id + len(annotations), image_id=image_id, category_id=scenes.KINDS.index(thing.shape) + 1,
            segmentation=_run_lengths(mask) if thing.crowd else polygons(mask), iscrowd=int(thing.crowd),
            area=int(mask.sum()), bbox=[left, top, right - left, bottom - top]))
    width, height = SCENE_SIZE
    return dict(id=image_id, file_name=f'{image_id:012d}.jpg', width=width, height=height), annotations


def _run_lengths(mask: np.ndarray) -> dict:
    """COCO's uncompressed run-length code."""
    starts = np.flatnonzero(np.diff(mask.ravel('F').astype(np.int8), prepend=0))
    return dict(size=list(mask.shape), counts=np.diff([0, *starts, mask.size]).tolist())


def polygons(mask: np.ndarray) -> list[list[float]]:
    """Polygons ``[x0, y0, x1, y1, ...]`` along the edges of the pixels of a mask.

    COCO's polygons have no holes: a mask that has one is cut in two through it.
    """
    runs = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))))
    (rows, starts), (_, ends) = np.nonzero(runs == 1), np.nonzero(runs == -1)
    parts = shapely.get_parts(shapely.union_all(shapely.box(starts, rows, ends, rows + 1)).simplify(0))
    holes = [hole for part in parts for hole in part.interiors]
    if holes:
        left = np.arange(mask.shape[1]) < round(holes[0].centroid.x)
        return polygons(mask & left) + polygons(mask & ~left)
    return [shapely.get_coordinates(part)[:-1].ravel().tolist() for part in parts]


def _write_ade20k(folder, rng, split, index):
    scene = scenes.gathering(rng, rng.integers(3, 14), False)
    image, numbers = render(scene, *SCENE_SIZE)
    name = f'ADE_{split}_{index + 1:08d}'
    save(Image.fromarray(image), folder / 'images' / _SPLITS[split] / f'{name}.jpg')
    # In the order of the surface numbers.
    surfaces = ['sky', *scene.grounds, *(thing.shape for thing in scene.things)]
    labels = np.uint8([SEGMENTS.index(surface) + 1 if surface in SEGMENTS else 0 for surface in surfaces])
    save(Image.fromarray(labels[numbers]), folder / 'annotations' / _SPLITS[split] / f'{name}.png')


def _write_davis(folder, rng, split, index, frames):
    leaves = index % 3 == 1
    while True:
        clip = scenes.clip(rng, frames, leaves)
        objects = sum(thing.shape in scenes.KINDS for thing in clip[0].things)
        visible = np.bincount(render(clip[0], *CLIP_SIZE)[1].ravel(), minlength=FIRST_THING + objects)
        if visible[FIRST_THING:FIRST_THING + objects].min() > 100:
            break
    for number, scene in enumerate(clip):
        image, numbers = render(scene, *CLIP_SIZE)
        ids = numbers - FIRST_THING + 1
        name = f'480p/{split}-{index:02d}/{number:05d}'
        save(Image.fromarray(image), folder / f'JPEGImages/{name}.jpg')
        save_mask(np.uint8(np.where((ids > 0) & (ids <= objects), ids, 0)), folder / f'Annotations/{name}.png')


# An item's randomness comes from the place of its kind here.
_WRITERS = dict(imagenet=_write_imagenet, coco=_write_coco, ade20k=_write_ade20k, davis=_write_davis,
                **{kind: layout.write for kind, layout in _LAYOUTS.items()})


def _write_lists(folder: Path, items: list, results: list) -> None:
    """What spans the items: COCO's annotation files, ADE20K's class names and DAVIS's lists of sequences."""
    for name in ('ade20k', 'coco/annotations', 'davis/ImageSets/2017'):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / 'ade20k/classes.txt').write_text('\n'.join(SEGMENTS) + '\n')
    categories = [dict(id=number, name=name, supercategory='shape') for number, name in enumerate(scenes.KINDS, 1)]
    for wanted in _SPLITS:
        entries = [result for (kind, split, _), result in zip(items, results) if (kind, split) == ('coco', wanted)]
        (folder / f'coco/annotations/instances_{wanted}2017.json').write_text(json.dumps(dict(
            info=dict(description='mmdssl sample world'), licenses=[], images=[image for image, _ in entries],
            annotations=[annotation for _, some in entries for annotation in some], categories=categories)))
        clips = [f'{split}-{index:02d}\n' for kind, split, index in items if (kind, split) == ('davis', wanted)]
        (folder / f'davis/ImageSets/2017/{wanted}.txt').write_text(''.join(clips))
