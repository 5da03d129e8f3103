from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

from mmdssl.visualization import overlay, save_mask, save_video, voc_palette


def test_palette_is_that_of_voc():
    palette = voc_palette()
    assert palette[[1, 2, 3, 8, 15, 20, 64, 255]].tolist() == [
        [128, 0, 0], [0, 128, 0], [128, 128, 0], [64, 0, 0], [192, 128, 128], [0, 64, 128], [32, 0, 0], [224, 224, 192]]


def test_saved_masks_keep_their_ids_and_show_their_colours(tmp_path):
    ids = np.array([[0, 1, 2], [3, 200, 255]], np.uint8)
    save_mask(ids, tmp_path / 'new/mask.png')
    with Image.open(tmp_path / 'new/mask.png') as image:
        assert image.mode == 'P' and np.array_equal(image, ids)
        assert np.array_equal(image.convert('RGB'), voc_palette()[ids])


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
