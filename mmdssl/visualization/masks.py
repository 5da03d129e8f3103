"""Masks of ids as pictures."""
from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from mmdssl.datasets.palette import VOID
from mmdssl.errors import InputError

# Of Okabe and Ito, which also those who do not see all colours tell apart; the objects 1, 2, ... in turn.
COLOURS = np.array([(230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167)], np.uint8)
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
FONT = cv2.FONT_HERSHEY_SIMPLEX


def overlay(image: np.ndarray, ids: np.ndarray, truth: np.ndarray | None = None, words: str = '') -> np.ndarray:
    """RGB ``(H, W, 3)`` uint8 with the objects of a mask tinted, each in its colour and with its number.

    Args:
        image: RGB, ``(H, W, 3)`` uint8.
        ids: ``(H, W)``, 0 is the background.
        truth: Ids whose contours are drawn in white; 255 is void.
        words: Written in the upper left corner.
    """
    colours = COLOURS[(ids.astype(int) - 1) % len(COLOURS)]
    picture = np.where((ids > 0)[..., None], (image // 2 + colours // 2).astype(np.uint8), image)
    for number in np.unique(truth) if truth is not None else ():
        if number not in (0, VOID):
            contours, _ = cv2.findContours((truth == number).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
            for colour, width in ((BLACK, 3), (WHITE, 1)):
                cv2.drawContours(picture, contours, -1, colour, width)
    size = max(image.shape[0] / 480, 0.35)
    for number in np.unique(ids[ids > 0]):
        depth = cv2.distanceTransform(np.pad(ids == number, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
        y, x = np.unravel_index(depth.argmax(), depth.shape)
        (width, height), _ = cv2.getTextSize(str(number), FONT, size, 1)
        _write(picture, str(number), (int(x) - width // 2, int(y) + height // 2), size)
    if words:
        _write(picture, words, (4, int(24 * size) + 2), size)
    return picture


def _write(picture: np.ndarray, words: str, place: tuple[int, int], size: float) -> None:
    for colour, width in ((BLACK, 3), (WHITE, 1)):
        cv2.putText(picture, words, place, FONT, size, colour, width, cv2.LINE_AA)


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
