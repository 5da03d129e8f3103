"""Masks of ids as files and pictures."""
from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from mmdssl.errors import InputError


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


def overlay(image: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """RGB ``(H, W, 3)`` uint8 with the objects of a mask ``(H, W)`` tinted in their colours."""
    tinted = (image // 2 + voc_palette()[ids] // 2).astype(np.uint8)
    return np.where((ids > 0)[..., None], tinted, image)


def save_video(images: Iterable[np.ndarray], path: str | Path, fps: int = 24) -> None:
    """Write RGB images ``(H, W, 3)`` uint8 of one size as an .mp4.

    Raises:
        InputError: The installed OpenCV cannot encode it.
    """
    writer = None
    for image in images:
        if writer is None:
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), fps, image.shape[1::-1])
            if not writer.isOpened():
                raise InputError(f'{path} cannot be written, this OpenCV has no mp4 encoder: ask for pictures instead')
        writer.write(image[..., ::-1])
    if writer is not None:
        writer.release()
