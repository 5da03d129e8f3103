from __future__ import annotations

import cv2
import numpy as np

from mmdssl.visualization import overlay, save_video


def test_overlay_tints_objects_only():
    image = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    ids = np.zeros((4, 5), np.uint8)
    ids[1:3, 2] = 2
    tinted = overlay(image, ids)
    assert np.array_equal(tinted[ids == 0], image[ids == 0])
    assert np.array_equal(tinted[ids == 2], image[ids == 2] // 2 + np.uint8([0, 64, 0]))


def test_video_has_the_frames_in_order(tmp_path):
    images = [np.full((48, 64, 3), (level, 0, 255 - level), np.uint8) for level in (0, 120, 250)]
    save_video(images, tmp_path / 'video.mp4')
    video = cv2.VideoCapture(str(tmp_path / 'video.mp4'))
    frames = [video.read()[1][..., ::-1].mean((0, 1)) for _ in images]
    assert not video.read()[0]
    assert np.allclose(frames, [image[0, 0] for image in images], rtol=0, atol=8)
