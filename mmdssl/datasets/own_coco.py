"""Files of COCO by whatever names, and their images."""
from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mmdssl.datasets.images import image_sizes
from mmdssl.datasets.own import LOOKED_AT, PARTS, held_out, inside, part_of, require_readable, write
from mmdssl.errors import InputError

NO_JSON = 'it cannot be read as JSON'
COCO_OPTIONS = '--cfg-options train_dataloader.dataset.ann_file=FILE val_dataloader.dataset.ann_file=FILE'


@dataclass
class CocoFile:
    """A file of COCO and the folder of its images, absolute; of a part that was made of a file, that file is the source."""
    path: Path
    content: dict
    images: Path
    source: Path | None = None

    @property
    def said(self) -> str:
        """Where it is from, in messages."""
        return str(self.source or self.path)

    @property
    def names(self) -> list[str]:
        """In the order of the file, by which mmdet and pycocotools number the classes."""
        return [category['name'] for category in self.content['categories']]

    def check_names(self) -> None:
        """Raise an InputError where two categories have one name, which nothing that finds classes by their names can tell apart."""
        twice = [name for name in dict.fromkeys(self.names) if self.names.count(name) > 1]
        if twice:
            raise InputError(f"'{self.said}' has several categories called '{twice[0]}': give each a name of its own, or merge them")

    @property
    def stray(self) -> list[int]:
        """Category ids of annotations that the file does not list."""
        listed = {category['id'] for category in self.content['categories']}
        return [each['category_id'] for each in self.content['annotations'] if each.get('category_id') not in listed]

    @property
    def has_masks(self) -> bool:
        """Whether any object has a segmentation, or there is no object."""
        return not self.content['annotations'] or any(each.get('segmentation') for each in self.content['annotations'])

    def check_boxes(self) -> None:
        """Raise an InputError for boxes that are shares of the image, or two corners, as other formats have them."""
        sizes = {image['id']: (image['width'], image['height']) for image in self.content['images']}
        boxes = [(each['bbox'], sizes[each['image_id']]) for each in self.content['annotations'] if each['image_id'] in sizes]
        right = "COCO's are [x, y, width, height] in pixels, export again"
        if boxes and all(max(box) <= 1 for box, _ in boxes):
            raise InputError(f"the boxes of '{self.said}' are shares of the image, first {boxes[0][0]}: {right}")
        beyond = [box for box, (width, height) in boxes if box[0] + box[2] > width + 1 or box[1] + box[3] > height + 1]
        if len(beyond) > len(boxes) / 2:
            raise InputError(f"{len(beyond)} of {len(boxes)} boxes of '{self.said}' reach beyond their image, first {beyond[0]}, as where "
                             f'they are two corners: {right}')

    def odd_sizes(self) -> str:
        """Of :data:`mmdssl.datasets.own.LOOKED_AT` images at most, which are of another size than the file says; nothing where none is.

        Raises:
            InputError: All of them are: boxes are then those of other pictures.
        """
        images = self.content['images'][::max(len(self.content['images']) // LOOKED_AT, 1)]
        sizes = [(each, image_sizes(str(self.images / each['file_name']))) for each in images]
        there = [(each, found) for each, found in sizes if found]
        odd = [(each, found[0]) for each, found in there if (each['width'], each['height']) not in found]
        if not odd:
            return ''
        each, (width, height) = odd[0]
        said = (f"{len(odd)} of {len(there)} images looked at of '{self.said}' have another size than it says, first "
                f"'{each['file_name']}', {width} x {height} pixels in place of {each['width']} x {each['height']}")
        if len(odd) == len(there):
            raise InputError(f'{said}: boxes belong to other pictures, resize these or the annotations with them, and export again')
        return f'{said}: their boxes may be off'


def find_coco(root: Path, given: Mapping[str, str], folders: Mapping[str, str]) -> dict[str, CocoFile]:
    """Files by part, ``train`` alone where there is a single one.

    Args:
        root: A folder, with files in it or in folders of it, or a file.
        given: Paths of files by part, relative to the root, which need not be looked for.
        folders: The same of folders of images.

    Raises:
        InputError: There is none, or it is not clear which is which, or the images are not to be found.
    """
    require_readable(root)
    if root.is_file():
        given, root = {'train': root.name, **given}, root.parent
    if given:
        found = {part: root / path for part, path in given.items()}
        contents = {}
        for path in found.values():
            if not path.is_file():
                raise InputError(f"there is no file '{path}': name files of COCO below '{root}'")
            require_readable(path)
            contents[path], wrong = _read_coco(path)
            if wrong:
                raise InputError(f"'{path}' is not a file of COCO, a JSON with images, annotations and categories: {wrong}")
    else:
        candidates = [path for pattern in ('*.json', '*/*.json') for path in sorted(root.glob(pattern)) if path.name[0] != '.']
        for path in candidates:
            require_readable(path)
        read = {path: _read_coco(path) for path in candidates}
        contents = {path: content for path, (content, _) in read.items() if content}
        broken = next(((path, wrong) for path, (_, wrong) in read.items() if wrong and (not contents or wrong.startswith(NO_JSON))), None)
        if broken:
            raise InputError(f"'{broken[0]}' is not a file of COCO, a JSON with images, annotations and categories: {broken[1]}; export it "
                             'again, or move it away if it is something else')
        if not contents:
            above = next(iter(sorted(root.resolve().parent.glob('*.json'))), None)
            meant = f"give the folder '{above.parent}', which has {above.name}" if above else 'export one from the tool that you label with'
            raise InputError(f"'{root}' and its folders hold no file of COCO, a JSON with images, annotations and categories (there is "
                             f'{inside(root)}): {meant}')
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
    if len(coco.content['images']) < 2:
        raise InputError(f"'{coco.path}' has a single image: one to train on and one to validate is the least")
    parts = {}
    for part, chosen in zip(('train', 'val'), held_out(coco.content['images'])):
        ids = {image['id'] for image in chosen}
        annotations = [each for each in coco.content['annotations'] if each.get('image_id') in ids]
        content = {**coco.content, 'images': chosen, 'annotations': annotations}
        path = folder.absolute() / f'{part}.json'
        write(path, json.dumps(content))
        parts[part] = replace(coco, path=path, content=content, source=coco.path)
    return parts


def images_of_both(train: CocoFile, val: CocoFile) -> list[str]:
    """Names of the images that are trained on and validate too."""
    of_train, of_val = ({f"{each.images}/{image['file_name']}" for image in each.content['images']} for each in (train, val))
    return sorted(path.removeprefix(f'{val.images}/') for path in of_train & of_val)
