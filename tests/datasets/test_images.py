from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mmdssl.datasets.images import find_images, read_rgb, to_rgb
from mmdssl.errors import InputError

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def gray_image(mode: str) -> Image.Image:
    """The ramp 0..255 in a given mode."""
    if mode.startswith('I;16'):
        return Image.fromarray(RAMP.astype(np.uint16) * 257).convert('I').convert(mode)
    if mode == 'I':
        return Image.fromarray(RAMP.astype(np.int32) * 257)
    if mode == 'F':
        return Image.fromarray(RAMP.astype(np.float32) / 255 - 3)
    return Image.fromarray(RAMP).convert('RGB').convert(mode)


@pytest.mark.parametrize('mode', ['RGB', 'L', 'LA', 'RGBA', 'CMYK', 'YCbCr', 'HSV', 'RGBX', 'I;16', 'I;16B', 'I', 'F'])
def test_every_mode_keeps_its_levels(mode):
    rgb = to_rgb(gray_image(mode))
    assert rgb.mode == 'RGB'
    np.testing.assert_allclose(np.asarray(rgb).astype(int), np.repeat(RAMP[..., None], 3, 2), atol=2)


def test_one_bit_image_is_black_and_white():
    image = Image.fromarray(RAMP > 99)
    assert image.mode == '1'
    np.testing.assert_array_equal(np.asarray(to_rgb(image))[..., 0], np.where(RAMP > 99, 255, 0))


def test_integers_beyond_16_bits_are_stretched():
    levels = np.asarray(to_rgb(Image.fromarray(RAMP.astype(np.int32) * 1000 - 5000)))[..., 0]
    np.testing.assert_allclose(levels.astype(int), RAMP, atol=1)
    assert not np.asarray(to_rgb(Image.new('F', (4, 4), 7.))).any()  # a constant has nothing to stretch


@pytest.mark.parametrize('name', ['palette.png', 'rgba.png', 'gray.png'])
def test_transparency_shows_white(tmp_path, name):
    if name == 'palette.png':
        image = Image.new('P', (2, 1))
        image.putpalette([255, 0, 0, 0, 0, 200])
        image.putpixel((1, 0), 1)
        image.save(tmp_path / name, transparency=0)
    elif name == 'rgba.png':
        image = Image.new('RGBA', (2, 1), (255, 0, 0, 0))
        image.putpixel((1, 0), (0, 0, 200, 255))
        image.save(tmp_path / name)
    else:
        image = Image.new('L', (2, 1), 50)
        image.putpixel((1, 0), 90)
        image.save(tmp_path / name, transparency=50)
    visible = (90, 90, 90) if name == 'gray.png' else (0, 0, 200)
    rgb = read_rgb(str(tmp_path / name))
    assert [rgb.getpixel((0, 0)), rgb.getpixel((1, 0))] == [(255, 255, 255), visible]


def test_sixteen_bit_file_is_scaled_not_clipped(tmp_path):
    Image.fromarray(RAMP.astype(np.uint16) * 257).save(tmp_path / 'deep.png')
    np.testing.assert_array_equal(np.asarray(read_rgb(str(tmp_path / 'deep.png')))[..., 0], RAMP)


def test_exif_orientation_is_not_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (30, 20)).save(tmp_path / 'turned.jpg', exif=exif)
    assert read_rgb(str(tmp_path / 'turned.jpg')).size == (30, 20)


@pytest.mark.parametrize('suffix', ['png', 'jpg', 'webp', 'tif', 'bmp'])
def test_truncated_file_cannot_be_decoded(tmp_path, suffix):
    path = tmp_path / f'image.{suffix}'
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    assert read_rgb(str(path)).size == (64, 64)
    content = path.read_bytes()
    path.write_bytes(content[:len(content) // 2])
    assert read_rgb(str(path)) is None


def test_what_is_no_image_cannot_be_decoded(tmp_path):
    (tmp_path / 'empty.jpg').touch()
    (tmp_path / 'text.png').write_text('no image')
    assert [read_rgb(str(tmp_path / name)) for name in ('empty.jpg', 'text.png', 'missing.png')] == [None] * 3


def test_find_images_sorts_and_passes_over_what_is_hidden(tmp_path):
    for name in ('b/x.JPEG', 'a.png', 'b/c/d.tiff', 'b/notes.txt', '.cache/e.png', 'b/._x.JPEG'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert find_images(str(tmp_path)) == [str(tmp_path / name) for name in ('a.png', 'b/c/d.tiff', 'b/x.JPEG')]


def test_missing_or_empty_folder_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match='nowhere.*data_root'):
        find_images(str(tmp_path / 'nowhere'))
    with pytest.raises(InputError, match='no image below.*data_root'):
        find_images(str(tmp_path))
