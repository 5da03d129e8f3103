"""Image files: finding them, and reading any of them as RGB."""
from __future__ import annotations

import errno
import logging
import os
import warnings
from collections.abc import Callable, Sequence
from typing import BinaryIO

import numpy as np
from mmengine.logging import print_log
from PIL import Image
from torch.utils.data import Dataset
from torchvision.datasets.folder import IMG_EXTENSIONS

from mmdssl.errors import InputError

# Photos beyond Pillow's limit of pixels have more bytes per pixel than this, even where they are of one colour; what is packed
# more tightly is a bomb.
BOMB_BYTES_PER_PIXEL = 0.01
SHRINK = (8, 4, 2)  # by what a JPEG can be smaller when it is decoded
NOT_OF_THE_FILE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ENOTCONN)


def read_rgb(path: str, spare: Callable[[int, int], float] | None = None) -> Image.Image | None:
    """The image in a file as 8-bit RGB, or None where it cannot be decoded, see :func:`decode_rgb`.

    Pixels come as they are stored: an EXIF orientation is not applied, as in the usual loaders of ImageNet. Of several
    frames the first is read.
    """
    try:
        with open_file(path) as file:
            return decode_rgb(file, spare)
    except Exception as error:  # on broken data, decoders raise almost anything: OSError, SyntaxError, struct.error ...
        if isinstance(error, MemoryError) or getattr(error, 'errno', None) in NOT_OF_THE_FILE:
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


def open_file(path: str) -> BinaryIO:
    """Open a file to read it; opening a FIFO would wait for whoever writes to it, so it is an OSError, as are sockets and devices."""
    if _is_special(path):
        raise OSError(f"'{path}' is not a file")
    return open(path, 'rb')


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
    return image.convert('RGB')


def find_images(folder: str) -> list[str]:
    """Sorted paths of all images below a folder, by their extension.

    Hidden files and folders are passed over, and so is what is no file: FIFOs, sockets, devices. Links are followed, but each file
    and folder counts once, however many links lead to it. A link to nothing counts as an image that cannot be decoded.

    Raises:
        InputError: The folder does not exist, or holds no image.
    """
    require_folder(folder)
    found: dict[str, str] = {}  # by real path
    walked: set[str] = set()
    todo = [(folder, os.path.realpath(folder))]
    while todo:
        links = []
        while todo:  # what is really there first, so that it goes by its own path and not by a link's
            parent, real = todo.pop()
            if real in walked:
                continue
            walked.add(real)
            for entry in _visible(parent):
                if entry.is_symlink():
                    links.append(entry.path)
                elif entry.is_dir():
                    todo.append((entry.path, os.path.join(real, entry.name)))
                elif entry.is_file() and _is_image(entry.name):
                    found[os.path.join(real, entry.name)] = entry.path
        for path in sorted(links):
            if os.path.isdir(path):
                todo.insert(0, (path, os.path.realpath(path)))
            elif _is_image(path) and not _is_special(path):
                found.setdefault(os.path.realpath(path), path)
    if not found:
        raise InputError(f"no image below '{folder}': point data_root to a folder that holds images "
                         f"({', '.join(IMG_EXTENSIONS)})")
    return sorted(found.values())


def _visible(folder: str) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith('.')]
    except OSError as error:
        print_log(f"'{folder}' cannot be read ({error.strerror}): what is in it is left out", 'current', logging.WARNING)
        return []


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMG_EXTENSIONS)


def _is_special(path: str) -> bool:
    """Whether it is a FIFO, a socket, a device or a folder."""
    return os.path.exists(path) and not os.path.isfile(path)


def require_folder(folder: str) -> None:
    """Raise an InputError unless the folder exists."""
    if not os.path.isdir(folder):
        raise InputError(f"'{folder}' is not a folder: set data_root to the folder that holds the images")


def require_files(paths: Sequence[str], source: str) -> list[str]:
    """The paths as given, without FIFOs, sockets, devices and folders; an InputError if there is none, or names those that do not exist.

    Args:
        source: The file that lists the paths.
    """
    files = [path for path in paths if os.path.isfile(path)]
    missing = [path for path in paths if not os.path.exists(path)] if len(files) < len(paths) else []
    if missing:
        raise InputError(f"{len(missing)} of the {len(paths)} images named in '{source}' do not exist, first "
                         f"{', '.join(missing[:3])}: check data_root and the prefix of the image paths")
    if not files:
        raise InputError(f"'{source}' names no image: check that it is the right file")
    return files


def image_names(dataset: Dataset) -> list[str]:
    """The images of a dataset, below its root, in its order."""
    if not hasattr(dataset, 'get_data_info'):
        return [type(dataset).__name__, str(len(dataset))]
    root = getattr(dataset, 'data_root', None) or ''
    infos = (dataset.get_data_info(i) for i in range(len(dataset)))
    return [str(info.get('img_path', info.get('name', ''))).removeprefix(root) for info in infos]
