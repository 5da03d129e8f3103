"""Image files: finding them, and reading any of them as RGB."""
from __future__ import annotations

import ctypes
import errno
import logging
import os
import warnings
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import BinaryIO

import numpy as np
from mmengine.logging import print_log
from PIL import Image
from torch.utils.data import Dataset

from mmdssl.datasets.packed import END, ImageFiles
from mmdssl.errors import InputError

IMG_EXTENSIONS = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif', '.tiff', '.webp')  # torchvision's
# Photos beyond Pillow's limit of pixels have more bytes per pixel than this, even where they are of one colour; what is packed
# more tightly is a bomb.
BOMB_BYTES_PER_PIXEL = 0.01
WORTH_LISTING = 32  # images that a list names in a folder
ORIENTATION, FIRST_RIGHT_ANGLE = 0x0112, 5  # of EXIF
SHRINK = (8, 4, 2)  # by what a JPEG can be smaller when it is decoded
# Pictures that people have, and that are not read.
NOT_READ = ('.heic', '.heif', '.avif', '.gif', '.jp2', '.jxl', '.psd', '.dng', '.nef', '.cr2', '.cr3', '.arw', '.raf', '.orf', '.rw2')
READ_AHEAD = 2**20  # bytes, as few calls of the system as a photograph needs
NOT_OF_THE_FILE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ENOTCONN)


def read_rgb(path: str, spare: Callable[[int, int], float] | None = None,
             opened: Callable[[str], BinaryIO] | None = None) -> Image.Image | None:
    """The image in a file as 8-bit RGB, or None where it cannot be decoded, see :func:`decode_rgb`.

    Pixels come as they are stored: an EXIF orientation is not applied, as in the usual loaders of ImageNet. Of several
    frames the first is read.

    Args:
        path: Of the file.
        spare: As in :func:`decode_rgb`.
        opened: What opens it; by default :func:`open_file`.
    """
    try:
        with (opened or open_file)(path) as file:
            return decode_rgb(file, spare)
    except Exception as error:  # on broken data, decoders raise almost anything: OSError, SyntaxError, struct.error ...
        if isinstance(error, (MemoryError, InputError)) or getattr(error, 'errno', None) in NOT_OF_THE_FILE:
            raise
        return None


def decode_rgb(file: BinaryIO, spare: Callable[[int, int], float] | None = None) -> Image.Image:
    """The first image in a file as 8-bit RGB.

    Args:
        file: Open for reading.
        spare: How many times smaller than its width and height an image is wanted at most. A JPEG is then decoded at a half, a
            quarter or an eighth, in a fraction of the time; :func:`full_size` still knows its size.

    Raises:
        Exception: Of almost any type: the file is broken or truncated, has levels that are not finite, no pixel, or so many
            that it is a decompression bomb; of those nothing is decoded.
    """
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of damaged metadata, and of sizes, which open_image judges
        with open_image(file) as image:
            size = image.size
            if spare is not None and image.format in ('JPEG', 'MPO'):
                limit = spare(*size)
                factor = next((factor for factor in SHRINK if factor <= limit), 1)
                image.draft(None, (size[0] // factor, size[1] // factor))
            rgb = to_rgb(image)
        if rgb.size != size:
            rgb.info['full_size'] = size
        return rgb


def full_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of what :func:`decode_rgb` read, however small it was decoded."""
    return image.info.get('full_size', image.size)


def pixels_of(image: Image.Image) -> np.ndarray:
    """The levels of an RGB image, ``(1, height, width, 4)`` uint8, of which the fourth channel means nothing; not to be written to.

    It is Pillow's own memory where Pillow shows it, which is where rows are contiguous (below 16 MB), else a copy.
    """
    try:
        return np.asarray(_Shown(image))
    except (AttributeError, ValueError):
        return np.array(image.convert('RGBX'))[None]


class _Shown:
    """The memory of an image, by Arrow's C data interface: for NumPy, which keeps this object as long as it looks there."""

    def __init__(self, image: Image.Image):
        _, self._capsule = image.__arrow_c_array__()
        # struct ArrowArray begins with 7 members of 8 bytes, of which the first is its length and the last two are buffers and children
        child = _integers(_integers(_integers(_address(self._capsule, b'arrow_array'), 7)[6], 1)[0], 7)
        shape = 1, image.height, image.width, 4
        if child[0] != np.prod(shape):
            raise ValueError('levels have another layout')
        self.__array_interface__ = dict(version=3, shape=shape, typestr='|u1', data=(_integers(child[5], 2)[1], False))


_address = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(('PyCapsule_GetPointer', ctypes.pythonapi))


def _integers(address: int, number: int) -> ctypes.Array:
    return (ctypes.c_int64 * number).from_address(address)


def open_file(path: str) -> BinaryIO:
    """Open a file to read it; opening a FIFO would wait for whoever writes to it, so it is an OSError, as are sockets and devices."""
    if _is_special(path):
        raise OSError(f"'{path}' is not a file")
    return open(path, 'rb', READ_AHEAD)


def open_image(file: BinaryIO) -> Image.Image:
    """Pillow's ``Image.open``, which reads no pixels yet, for images that have some but are no decompression bombs."""
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    image = Image.open(file)  # an error beyond twice the limit, between them a warning
    pixels = image.width * image.height
    if not pixels:
        raise OSError('the image has no pixels')
    if Image.MAX_IMAGE_PIXELS and pixels > Image.MAX_IMAGE_PIXELS and length < BOMB_BYTES_PER_PIXEL * pixels:
        raise Image.DecompressionBombError(f'{pixels} pixels in {length} bytes are a decompression bomb')
    if image.format == 'PNG':
        image.verify()  # checksums, which decoding passes over
        file.seek(0)
        image = Image.open(file)
    return image


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to 8-bit RGB.

    Transparency shows white. 16-bit levels are scaled, not clipped; levels without a natural white (floats, and
    integers beyond 16 bits) are stretched between the darkest and the brightest pixel.

    Raises:
        ValueError: Levels are not finite.
    """
    if image.mode.startswith(('I', 'F')):
        levels = np.asarray(image, dtype=np.float64)
        if not np.isfinite(levels).all():
            raise ValueError('levels of the image are NaN or infinite')
        black, white = 0, 65535
        if image.mode == 'F' or levels.min() < black or levels.max() > white:
            black, white = levels.min(), levels.max()
        levels = (levels - black) * (255 / (white - black) if white > black else 0)
        image = Image.fromarray(levels.round().astype(np.uint8))
    elif image.has_transparency_data:
        image = image.convert('RGBA')
        image = Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image)
    if image.mode != 'RGB':
        return image.convert('RGB')
    image.load()
    return image


def image_sizes(path: str) -> list[tuple[int, int]]:
    """Width and height of the image in a file, and those of the upright one where an EXIF orientation turns it by a right angle; nothing
    where it is no image."""
    try:
        with open_file(path) as file, Image.open(file) as image:
            turned = image.getexif().get(ORIENTATION, 1) >= FIRST_RIGHT_ANGLE
            return [image.size, image.size[::-1]] if turned else [image.size]
    except Exception:  # on broken data, decoders raise almost anything
        return []


def kinds_left_out(suffixes: Mapping[str, int]) -> str:
    """Of the files with these suffixes, which are pictures that are not read, in words; nothing where there are none."""
    found = Counter()
    for suffix, number in suffixes.items():
        if suffix.lower() in NOT_READ:
            found[suffix.lower()] += number
    kinds = ' and '.join(f'{number} {suffix}' for suffix, number in found.most_common())
    return f'{kinds} cannot be read, convert to .jpg' if kinds else ''


def find_images(folder: str) -> list[str]:
    """Sorted paths of all images below a folder, by their extension; see :func:`walk_images`."""
    return list(walk_images(folder))


def walk_images(folder: str, left_out: list[str] | None = None) -> Iterator[str]:
    """Paths of all images below a folder, by their extension, in the order of text.

    Hidden files and folders are passed over, and so is what is no file: FIFOs, sockets, devices. Links are followed, but each file
    and folder counts once, however many links lead to it. A link to nothing counts as an image that cannot be decoded.

    Args:
        folder: Where to look.
        left_out: Gets a sentence about pictures of kinds that are not read, if there are any; it is in the log too.

    Raises:
        InputError: The folder does not exist, or holds no image.
    """
    require_folder(folder)
    walked: dict[str, str] = {}  # folders by real path
    names: dict[str, str] = {}  # of the images of a folder, sorted, in one text
    inside: dict[str, list[str]] = defaultdict(list)  # folders of a folder
    linked: dict[str, tuple[str, str]] = {}  # folder and name of a link by the real path of the image
    others: Counter[str] = Counter()
    todo = [(folder, os.path.realpath(folder), None)]
    while todo:
        links = []
        while todo:  # what is really there first, so that it goes by its own path and not by a link's
            path, real, parent = todo.pop()
            if real in walked:
                continue
            walked[real] = path
            inside[parent].append(path)
            images = []
            for entry in _visible(path):
                if entry.is_symlink():
                    links.append((entry.path, entry.name, path))
                elif entry.is_dir():
                    todo.append((entry.path, os.path.join(real, entry.name), path))
                elif entry.is_file() and _is_image(entry.name):
                    images.append(entry.name)
                else:
                    others[os.path.splitext(entry.name)[1]] += 1
            names[path] = END.join(sorted(images))
        for path, name, parent in sorted(links):
            if os.path.isdir(path):
                todo.insert(0, (path, os.path.realpath(path), parent))
            elif _is_image(path) and not _is_special(path):
                linked.setdefault(os.path.realpath(path), (parent, name))
    _add_links(names, walked, linked)
    unread = kinds_left_out(others)
    if not any(names.values()):
        there = unread or f"give a folder that holds images ({', '.join(IMG_EXTENSIONS)})"
        raise InputError(f"no image below '{folder}': {there}")
    if unread:
        print_log(f"'{folder}': {unread}", 'current', logging.WARNING)
        if left_out is not None:
            left_out.append(unread)
    return _in_order(folder, names, inside)


def _add_links(names: dict[str, str], walked: dict[str, str], linked: dict[str, tuple[str, str]]) -> None:
    """Those to images that have not been found themselves."""
    found: dict[str, set[str]] = {}
    added: dict[str, list[str]] = defaultdict(list)
    for real, (folder, name) in linked.items():
        parent, base = os.path.split(real)
        if parent in walked and parent not in found:
            found[parent] = set(names[walked[parent]].split(END))
        if base not in found.get(parent, ()):
            added[folder].append(name)
    for folder, more in added.items():
        names[folder] = END.join(sorted([*filter(None, names[folder].split(END)), *more]))


def _in_order(folder: str, names: dict[str, str], inside: dict[str, list[str]]) -> Iterator[str]:
    """All paths as sorting them would give, from folders whose images are sorted."""
    todo: list[str | tuple[str, list[str]]] = [folder]
    while todo:
        part = todo.pop()
        if isinstance(part, tuple):
            front, some = part
            yield from (front + name for name in some)
            continue
        front, images, parts, start = os.path.join(part, ''), [*filter(None, names[part].split(END))], [], 0
        for child in sorted(os.path.join(path, '') for path in inside[part]):
            end = bisect_left(images, child[len(front):])
            parts += [(front, images[start:end]), child[:-1]]
            start = end
        todo += reversed([*parts, (front, images[start:])])


def _visible(folder: str) -> Iterator[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith('.'):
                    yield entry
    except OSError as error:
        print_log(f"'{folder}' cannot be read ({error.strerror}): what is in it is left out", 'current', logging.WARNING)


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMG_EXTENSIONS)


def _is_special(path: str) -> bool:
    """Whether it is a FIFO, a socket, a device or a folder."""
    return not os.path.isfile(path) and os.path.exists(path)


def require_folder(folder: str) -> None:
    """Raise an InputError unless the folder exists."""
    if not os.path.isdir(folder):
        raise InputError(f"'{folder}' is not a folder: give the one that holds the images")


def require_files(paths: Sequence[str], source: str) -> Sequence[str]:
    """The paths as given, without FIFOs, sockets, devices and folders; an InputError if there is none, or names those that do not exist.

    Args:
        source: The file that lists the paths.
    """
    is_file = np.fromiter(_are_files(paths), bool, len(paths))
    if is_file.all() and len(paths):
        return paths
    missing = [paths[i] for i in np.flatnonzero(~is_file).tolist() if not os.path.exists(paths[i])]
    if missing:
        raise InputError(f"{len(missing)} of the {len(paths)} images named in '{source}' do not exist, first "
                         f"{', '.join(missing[:3])}: check data_root and the prefix of the image paths")
    if not is_file.any():
        raise InputError(f"'{source}' names no image: check that it is the right file")
    return [path for path, kept in zip(paths, is_file.tolist()) if kept]


def _are_files(paths: Iterable[str]) -> Iterator[bool]:
    """``os.path.isfile`` of each; of many in a folder, it is listed, which takes less than to ask for each, above all over a network."""
    for folder, group in groupby(paths, lambda path: path[:path.rfind('/') + 1]):
        some = list(group)
        there, begin = _files_in(folder or '.') if len(some) >= WORTH_LISTING else (), len(folder)
        yield from [path[begin:] in there or os.path.isfile(path) for path in some]


def _files_in(folder: str) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except OSError:
        return set()


def image_names(dataset: Dataset) -> Iterable[str]:
    """The images of a dataset, below its root, in its order; of a dataset with ``image_names()`` what that says."""
    if hasattr(dataset, 'image_names'):
        return dataset.image_names()
    if not hasattr(dataset, 'get_data_info'):
        return [type(dataset).__name__, str(len(dataset))]
    root = getattr(dataset, 'data_root', None) or ''
    infos = dataset.data_list if isinstance(getattr(dataset, 'data_list', None), ImageFiles) else None
    if infos is not None:
        return (path.removeprefix(root) for path in infos.paths)
    infos = (dataset.get_data_info(i) for i in range(len(dataset)))
    return (str(info.get('img_path', info.get('name', ''))).removeprefix(root) for info in infos)
