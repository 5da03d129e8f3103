"""Masks of ids as pictures."""
from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from mmdssl.datasets.palette import voc_palette
from mmdssl.errors import InputError


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
