from __future__ import annotations

import cv2
import numpy as np

from mmdssl.visualization import overlay, save_video
from mmdssl.visualization.masks import COLOURS


def test_overlay_tints_objects_only():
    image = np.random.default_rng(0).integers(0, 250, (120, 160, 3), dtype=np.uint8)
    ids = np.zeros((120, 160), np.uint8)
    ids[30:90, 40:120] = 2
    tinted = overlay(image, ids)
    assert np.array_equal(tinted[ids == 0], image[ids == 0])
    number = np.zeros_like(ids, bool)
    number[44:76, 62:98] = True  # is written there
    tint = ids.astype(bool) & ~number
    assert np.array_equal(tinted[tint], image[tint] // 2 + COLOURS[1] // 2)
    assert (tinted[number] == 255).any()


def test_overlay_draws_the_true_contours_and_words():
    image, ids = np.full((120, 160, 3), 90, np.uint8), np.zeros((120, 160), np.uint8)
    truth = ids.copy()
    truth[60:100, 60:110], truth[0, :] = 1, 255
    found = overlay(image, ids, truth)
    edge = np.zeros_like(ids, bool)
    edge[60:100, 60:110], edge[61:99, 61:109] = True, False
    assert (found[edge] == 255).all() and (found[64:96, 64:106] == 90).all() and (found[:56] == 90).all()
    worded = overlay(image, ids, truth, 'J&F 63.8')
    assert (worded[:20, :60] > 200).any() and np.array_equal(worded[40:], found[40:])


def test_colours_of_ten_objects_of_a_scene_repeat_after_seven_only():
    assert len({tuple(colour) for colour in COLOURS.tolist()}) == 7
    ids = np.zeros((100, 100), np.uint8)
    ids[:40, :40], ids[60:, 60:] = 1, 8
    tinted = overlay(np.zeros((100, 100, 3), np.uint8), ids)
    assert np.array_equal(tinted[2, 2], tinted[-3, -3]) and np.array_equal(tinted[2, 2], COLOURS[0] // 2)


def test_video_has_the_frames_in_order(tmp_path):
    images = [np.full((48, 64, 3), (level, 0, 255 - level), np.uint8) for level in (0, 120, 250)]
    save_video(images, tmp_path / 'video.mp4')
    video = cv2.VideoCapture(str(tmp_path / 'video.mp4'))
    frames = [video.read()[1][..., ::-1].mean((0, 1)) for _ in images]
    assert not video.read()[0]
    assert np.allclose(frames, [image[0, 0] for image in images], rtol=0, atol=8)
