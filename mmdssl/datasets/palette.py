"""Masks of ids as files."""
from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

VOID = 255  # id of what is not counted


def voc_palette() -> np.ndarray:
    """Colours ``(256, 3)`` of the masks of PASCAL VOC and DAVIS: an id's bits dealt to red, green and blue in turn."""
    ids, bits = np.arange(256)[:, None, None], np.arange(8)
    return (((ids >> (3 * bits + np.arange(3)[:, None])) & 1) << (7 - bits)).sum(-1).astype(np.uint8)


def save_mask(ids: np.ndarray, path: str | Path) -> None:
    """Write ids ``(H, W)`` uint8 as a PNG with the palette of VOC, in a folder that is made where it is missing."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(ids)
    image.putpalette(voc_palette().ravel().tolist())
    image.save(path)
