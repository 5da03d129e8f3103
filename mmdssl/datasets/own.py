"""What somebody's folder holds: files of COCO, images with masks, clips with masks, by whatever names."""
from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from torchvision.datasets.folder import IMG_EXTENSIONS

from mmdssl.datasets.davis import read_mask
from mmdssl.datasets.palette import VOID
from mmdssl.errors import InputError

PARTS = dict(
    train=('train', 'training', 'trainval'), val=('val', 'valid', 'validation', 'dev', 'eval'), test=('test', 'testing'))
IMAGES = ('images', 'image', 'imgs', 'img', 'jpegimages', 'photos', 'pictures', 'frames', 'clips', 'videos', 'rgb', 'leftimg8bit')
MASKS = ('masks', 'mask', 'segmentationclassaug', 'segmentationclass', 'annotations', 'annotation', 'labels', 'label', 'segmentations',
         'segmentation', 'gt', 'ground_truth')
MOVIES = ('.mp4', '.avi', '.mov', '.mkv', '.webm')
HELD_OUT = 5  # every fifth image validates, where nothing says which ones do
NO_JSON = 'it cannot be read as JSON'
LOOKED_AT = 200  # masks, for their ids
COCO_OPTIONS = '--cfg-options train_dataloader.dataset.ann_file=FILE val_dataloader.dataset.ann_file=FILE'


@dataclass
class CocoFile:
    """A file of COCO and the folder of its images, absolute."""
    path: Path
    content: dict
    images: Path

    @property
    def names(self) -> list[str]:
        """In the order of the file, by which mmdet and pycocotools number the classes."""
        return [category['name'] for category in self.content['categories']]

    @property
    def stray(self) -> list[int]:
        """Category ids of annotations that the file does not list."""
        listed = {category['id'] for category in self.content['categories']}
        return [each['category_id'] for each in self.content['annotations'] if each.get('category_id') not in listed]


@dataclass
class Pairs:
    """Images with masks: folders, what names end with, the names without that, and how many images have no mask."""
    images: Path
    masks: Path
    image_suffix: str
    mask_suffix: str
    stems: list[str]
    bare: int = 0


def part_of(name: str) -> str | None:
    """Which part of a data set a name says it is."""
    words = set(re.findall('[a-z]+', name.lower()))
    return next((part for part, called in PARTS.items() if words & set(called)), None)


def find_coco(root: Path, given: Mapping[str, str], folders: Mapping[str, str]) -> dict[str, CocoFile]:
    """Files by part, ``train`` alone where there is a single one.

    Args:
        root: A folder, with files in it or in folders of it, or a file.
        given: Paths of files by part, relative to the root, which need not be looked for.
        folders: The same of folders of images.

    Raises:
        InputError: There is none, or it is not clear which is which, or the images are not to be found.
    """
    if root.is_file():
        given, root = {'train': root.name, **given}, root.parent
    if given:
        found = {part: root / path for part, path in given.items()}
        contents = {}
        for path in found.values():
            contents[path], wrong = _read_coco(path)
            if wrong:
                raise InputError(f"'{path}' is not a file of COCO, a JSON with images, annotations and categories: {wrong}")
    else:
        candidates = [path for pattern in ('*.json', '*/*.json') for path in sorted(root.glob(pattern)) if path.name[0] != '.']
        read = {path: _read_coco(path) for path in candidates}
        contents = {path: content for path, (content, _) in read.items() if content}
        broken = next(((path, wrong) for path, (_, wrong) in read.items() if wrong and (not contents or wrong.startswith(NO_JSON))), None)
        if broken:
            raise InputError(f"'{broken[0]}' is not a file of COCO, a JSON with images, annotations and categories: {broken[1]}; export it "
                             'again, or move it away if it is something else')
        if not contents:
            there = ', '.join(sorted(path.name for path in islice(root.iterdir(), 8))) or 'nothing'
            raise InputError(f"'{root}' and its folders hold no file of COCO, a JSON with images, annotations and categories (there is "
                             f'{there}): export one from the tool that you label with')
        found = _parts(root, list(contents))
    root = root.resolve()
    return {part: CocoFile(path.resolve(), contents[path], _image_folder(root, path.resolve(), contents[path], part, folders.get(part)))
            for part, path in found.items()}


def _parts(root: Path, files: Sequence[Path]) -> dict[str, Path]:
    by_part: dict[str | None, list[Path]] = {}
    for path in files:
        by_part.setdefault(part_of(str(path.relative_to(root))), []).append(path)
    unknown = by_part.pop(None, [])
    if len(files) == 1:
        return dict(train=files[0])
    if len(unknown) == 1 and len({'train', 'val'} & set(by_part)) == 1:
        by_part['val' if 'train' in by_part else 'train'] = unknown
        unknown = []
    twice = next((paths for paths in [*by_part.values(), unknown * 2] if len(paths) > 1), None)
    if twice or 'train' not in by_part:
        names = ', '.join(str(path.relative_to(root)) for path in files)
        raise InputError(f"'{root}' has several files of COCO ({names}), and their names do not say which one is to train and which to "
                         f'validate: put train and val into them, or give {COCO_OPTIONS}')
    return {part: paths[0] for part, paths in by_part.items()}


def _read_coco(path: Path) -> tuple[dict | None, str]:
    """The content, or None and what is wrong with it."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        return None, f'{NO_JSON} ({error})'
    if not isinstance(content, dict):
        return None, 'it holds a list'
    lacking = [kind for kind in ('images', 'annotations', 'categories') if not isinstance(content.get(kind), list)]
    if lacking:
        return None, f'it has no list {" and no list ".join(lacking)}'
    return (content, '') if content['images'] else (None, 'its list of images is empty')


def _image_folder(root: Path, file: Path, content: dict, part: str, given: str | None) -> Path:
    first = str(content['images'][0].get('file_name'))
    folders = [root / given] if given else [
        file.parent, file.parent / 'images', root / file.stem.split('_', 1)[-1], root, root / 'images',
        *(root / above / name for above in ('', 'images') for name in PARTS[part]), *_folders(root)]
    for folder in folders:
        if (folder / first).is_file():
            return folder
    looked = f"'{folders[0]}'" if given else f"'{root}' or its folders"
    raise InputError(f"{first}, the first image of '{file}', is not in {looked}: put the images there, or name their folder with "
                     f'--cfg-options {part}_dataloader.dataset.data_prefix.img=FOLDER')


def _folders(root: Path, depth: int = 2) -> Iterator[Path]:
    for path in sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != '.') if depth else ():
        yield path
        yield from _folders(path, depth - 1)


def hold_out(coco: CocoFile, folder: Path) -> dict[str, CocoFile]:
    """The two parts of a file, every fifth image to validate, written to a folder."""
    ids = {image['id'] for image in coco.content['images']}
    if coco.content['annotations'] and not any(each.get('image_id') in ids for each in coco.content['annotations']):
        raise InputError(f"no annotation of '{coco.path}' belongs to one of its images: the image_id of the first is "
                         f'{coco.content["annotations"][0].get("image_id")!r}, and ids of images are {sorted(ids, key=str)[:3]} ...')
    parts = {}
    for part, chosen in zip(('train', 'val'), _held_out(coco.content['images'])):
        ids = {image['id'] for image in chosen}
        annotations = [each for each in coco.content['annotations'] if each.get('image_id') in ids]
        content = {**coco.content, 'images': chosen, 'annotations': annotations}
        path = folder.absolute() / f'{part}.json'
        _write(path, json.dumps(content))
        parts[part] = replace(coco, path=path, content=content)
    return parts


def _held_out(items: Sequence) -> tuple[list, list]:
    """The last of every five; of fewer the last."""
    chosen = set(range(HELD_OUT - 1, len(items), HELD_OUT)) or {len(items) - 1}
    return [each for i, each in enumerate(items) if i not in chosen], [items[i] for i in sorted(chosen)]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}.{os.getpid()}')  # processes of a run write the same
    partial.write_text(text)
    partial.replace(path)


def find_pairs(root: Path) -> dict[str, Pairs]:
    """Images with masks by part; where the folder has no parts, every fifth image is in ``val``.

    Folders are ``images`` and ``masks`` or have another of their usual names; parts are folders in these, or above them.

    Raises:
        InputError: There are no such folders, or none of the images has a mask.
    """
    found: dict[str, Pairs] = {}
    for part, called in PARTS.items():
        for name in called:
            above = _child(root, [name])
            images, masks = (_child(folder, kinds) for folder, kinds in ((above, IMAGES), (above, MASKS)))
            if not (images and masks):
                images, masks = (_child(_child(root, kinds), [name]) for kinds in (IMAGES, MASKS))
            if images and masks:
                found.setdefault(part, _pair(images, masks))
    if not found:
        images, masks = (_child(root, kinds) for kinds in (IMAGES, MASKS))
        if not (images and masks):
            there = ', '.join(sorted(path.name for path in islice(root.iterdir(), 8))) or 'nothing'
            raise InputError(f"'{root}' has no folders of images and of their masks (there is {there}): call them images and masks, with "
                             'or without train and val in each')
        whole = _pair(images, masks)
        if len(whole.stems) < 2:
            raise InputError(f"'{root}' has {len(whole.stems)} image with a mask: one to train on and one to validate is the least")
        train, val = _held_out(whole.stems)
        found = dict(train=replace(whole, stems=train), val=replace(whole, stems=val, bare=0))
    if 'train' not in found:
        raise InputError(f"'{root}' has images and masks of {', '.join(found)}, but none to train on: call their folders train")
    found.setdefault('val', found.get('test', found['train']))
    return found


def _child(folder: Path | None, names: Sequence[str]) -> Path | None:
    """The folder in a folder with one of the names, in whatever case; the first name that there is."""
    if folder is None or not folder.is_dir():
        return None
    there = {path.name.lower(): path for path in folder.iterdir() if path.is_dir()}
    return next((there[name] for name in names if name in there), None)


def _files(folder: Path) -> list[str]:
    names = (path.relative_to(folder) for path in sorted(folder.rglob('*')) if path.name[0] != '.' and path.is_file())
    return [name.as_posix() for name in names]


def _pair(images: Path, masks: Path) -> Pairs:
    pictures = [name for name in _files(images) if name.lower().endswith(IMG_EXTENSIONS)]
    if not pictures:
        raise InputError(f"there is no image in '{images}' ({', '.join(IMG_EXTENSIONS)}): put them there")
    image_suffix = Counter(Path(name).suffix for name in pictures).most_common(1)[0][0]
    stems = [name.removesuffix(image_suffix) for name in pictures if name.endswith(image_suffix)]
    of_masks = _files(masks)
    if not of_masks:
        raise InputError(f"there is no mask in '{masks}': put them there, with the names of their images")
    ends = Counter(name[len(stem):] for stem in stems[:20] for name in of_masks
                   if name.startswith(stem) and not name[len(stem):][:1].isalnum() and name.endswith('.png'))
    if not ends:
        raise InputError(f"no image of '{images}', such as '{stems[0]}{image_suffix}', has a mask in '{masks}', where there is "
                         f"'{of_masks[0]}': give masks the names of their images, ending with .png")
    mask_suffix, there = ends.most_common(1)[0][0], set(of_masks)
    with_mask = [stem for stem in stems if f'{stem}{mask_suffix}' in there]
    return Pairs(images, masks, image_suffix, mask_suffix, with_mask, len(pictures) - len(with_mask))


def write_names(pairs: Pairs, path: Path) -> Path:
    """The names of the images as a text file."""
    _write(path.absolute(), '\n'.join(pairs.stems) + '\n')
    return path.absolute()


def ids_of(pairs: Pairs) -> set[int]:
    """What is in the masks, in no more than :data:`LOOKED_AT` of them."""
    step = max(len(pairs.stems) // LOOKED_AT, 1)
    return {int(number) for stem in pairs.stems[::step] for number in np.unique(read_mask(f'{pairs.masks / stem}{pairs.mask_suffix}'))}


def check_ids(ids: set[int], classes: Sequence[str], where: Path) -> bool:
    """Whether masks are binary, 0 and 255 for two classes.

    Raises:
        InputError: The ids are not those of the classes.
    """
    known = sorted(ids - {VOID})
    if known in ([], [0]) and VOID in ids:
        if len(classes) == 2 and classes[0] != 'void':
            return True
        raise InputError(f"the masks in '{where}' have the ids {', '.join(map(str, sorted(ids)))}, and {VOID} is void here, a pixel that "
                         'does not count: where it is a class, as in masks of black and white, name two classes and it is read as 1')
    if known and known[-1] >= len(classes):
        some = ', '.join(map(str, known[:12])) + (' ...' if len(known) > 12 else '')
        raise InputError(f"the masks in '{where}' have the ids {some}, and there are {len(classes)} classes, of the ids 0 to "
                         f'{len(classes) - 1} ({", ".join(classes[:12])}): name all of them, the background too, as in --classes '
                         'background apple pear; or begin with void if the id 0 does not count')
    return False


def find_clips(root: Path) -> dict[str, str]:
    """Names below a folder of clips and of their masks, a folder per clip in each.

    Raises:
        InputError: There are none.
    """
    frames, masks = (_child(root, kinds) for kinds in (IMAGES, MASKS))
    movies = [path for folder in (root, frames) if folder for path in sorted(folder.iterdir()) if path.suffix.lower() in MOVIES]
    if movies and not any(path.is_dir() for path in (frames or root).iterdir()):
        raise InputError(f"'{movies[0]}' is a movie, and frames are read from images: make them, for instance with ffmpeg -i "
                         f'{movies[0].name} clips/{movies[0].stem}/%05d.jpg, and their masks masks/{movies[0].stem}/00001.png, ...')
    if not (frames and masks):
        there = ', '.join(sorted(path.name for path in islice(root.iterdir(), 8))) or 'nothing'
        raise InputError(f"'{root}' has neither ImageSets, as DAVIS, nor folders of clips and of their masks (there is {there}): call them "
                         'clips and masks, with a folder for each clip in both')
    inside = [_child(folder, ['480p']) or folder for folder in (frames, masks)]
    return dict(zip(('frames', 'masks'), (path.relative_to(root).as_posix() for path in inside)))
