"""Image files: finding them, and reading any of them as RGB."""
from __future__ import annotations

import errno
import os
from collections.abc import Sequence

import numpy as np
from PIL import Image
from torch.utils.data import Dataset
from torchvision.datasets.folder import IMG_EXTENSIONS

from mmdssl.errors import InputError

NOT_OF_THE_FILE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ENOTCONN)


def read_rgb(path: str) -> Image.Image | None:
    """The image in a file as 8-bit RGB, or None where it cannot be decoded (a truncated file counts as that).

    Pixels come as they are stored: an EXIF orientation is not applied, as in the usual loaders of ImageNet. Of several
    frames the first is read.
    """
    try:
        with Image.open(path) as image:
            return to_rgb(image)
    except Exception as error:  # on broken data, decoders raise almost anything: OSError, SyntaxError, struct.error ...
        if isinstance(error, MemoryError) or getattr(error, 'errno', None) in NOT_OF_THE_FILE:
            raise
        return None


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to 8-bit RGB.

    Transparency shows white. 16-bit levels are scaled, not clipped; levels without a natural white (floats, and
    integers beyond 16 bits) are stretched between the darkest and the brightest pixel.
    """
    if image.mode.startswith(('I', 'F')):
        levels = np.asarray(image, dtype=np.float64)
        black, white = 0, 65535
        if image.mode == 'F' or levels.min() < black or levels.max() > white:
            black, white = levels.min(), levels.max()
        levels = (levels - black) * (255 / max(white - black, 1e-12))
        image = Image.fromarray(levels.round().astype(np.uint8))
    elif image.has_transparency_data:
        image = image.convert('RGBA')
        image = Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image)
    return image.convert('RGB')


def find_images(folder: str) -> list[str]:
    """Sorted paths of all images below a folder, by their extension; hidden files and folders are passed over.

    Raises:
        InputError: The folder does not exist, or holds no image.
    """
    require_folder(folder)
    paths = []
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith('.')]
        paths += [os.path.join(parent, name) for name in files
                  if name.lower().endswith(IMG_EXTENSIONS) and not name.startswith('.')]
    if not paths:
        raise InputError(f"no image below '{folder}': point data_root to a folder that holds images "
                         f"({', '.join(IMG_EXTENSIONS)})")
    return sorted(paths)


def require_folder(folder: str) -> None:
    """Raise an InputError unless the folder exists."""
    if not os.path.isdir(folder):
        raise InputError(f"'{folder}' is not a folder: set data_root to the folder that holds the images")


def require_files(paths: Sequence[str], source: str) -> list[str]:
    """The paths as given; an InputError if there is none, or names those that do not exist.

    Args:
        source: The file that lists the paths.
    """
    if not paths:
        raise InputError(f"'{source}' names no image: check that it is the right file")
    missing = [path for path in paths if not os.path.isfile(path)]
    if missing:
        raise InputError(f"{len(missing)} of the {len(paths)} images named in '{source}' do not exist, first "
                         f"{', '.join(missing[:3])}: check data_root and the prefix of the image paths")
    return list(paths)


def image_names(dataset: Dataset) -> list[str]:
    """The images of a dataset, below its root, in its order."""
    if not hasattr(dataset, 'get_data_info'):
        return [type(dataset).__name__, str(len(dataset))]
    root = getattr(dataset, 'data_root', None) or ''
    infos = (dataset.get_data_info(i) for i in range(len(dataset)))
    return [str(info.get('img_path', info.get('name', ''))).removeprefix(root) for info in infos]
