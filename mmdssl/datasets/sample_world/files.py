"""What the writers of all layouts share."""
from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SCENE_SIZE = (192, 144)  # width and height


def save(image: Image.Image, path: Path) -> None:
    """Write an image, in a folder that is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=95)


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the pixels of a mask; the last two are one pixel further."""
    (top, bottom), (left, right) = ((int(where.min()), int(where.max()) + 1) for where in np.nonzero(mask))
    return left, top, right, bottom
