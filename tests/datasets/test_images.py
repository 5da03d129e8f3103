from __future__ import annotations

import os
import socket

import numpy as np
import pytest
from PIL import Image, ImageFile
from torchvision.datasets import folder

from mmdssl.datasets.images import IMG_EXTENSIONS, find_images, full_size, pixels_of, read_rgb, require_files, to_rgb
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


def test_pixels_outlive_their_image(monkeypatch):
    """Whether Pillow shows its memory or not."""
    levels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    seen = [pixels_of(Image.fromarray(levels)) for _ in range(20)]
    monkeypatch.delattr(Image.Image, '__arrow_c_array__', raising=False)
    for pixels in (*seen, pixels_of(Image.fromarray(levels))):
        assert pixels.shape == (1, 40, 50, 4)
        np.testing.assert_array_equal(pixels[0, ..., :3], levels)


def test_extensions_are_torchvisions():
    assert IMG_EXTENSIONS == folder.IMG_EXTENSIONS


def test_find_images_sorts_and_passes_over_what_is_hidden(tmp_path):
    for name in ('b/x.JPEG', 'a.png', 'b/c/d.tiff', 'b/notes.txt', '.cache/e.png', 'b/._x.JPEG'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert find_images(str(tmp_path)) == [str(tmp_path / name) for name in ('a.png', 'b/c/d.tiff', 'b/x.JPEG')]


def test_missing_or_empty_folder_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match='nowhere.*give the one that holds'):
        find_images(str(tmp_path / 'nowhere'))
    with pytest.raises(InputError, match='no image below.*give a folder that holds images'):
        find_images(str(tmp_path))


def test_what_is_no_file_is_passed_over_and_never_waited_for(tmp_path, monkeypatch):
    Image.new('RGB', (4, 4)).save(tmp_path / 'a.png')
    os.mkfifo(tmp_path / 'pipe.png')
    (tmp_path / 'device.png').symlink_to('/dev/zero')
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(tmp_path)  # the path of a socket must be short
        listener.bind('socket.png')
    paths = [str(tmp_path / name) for name in ('a.png', 'pipe.png', 'device.png', 'socket.png')]
    assert find_images(str(tmp_path)) == require_files(paths, 'list.txt') == paths[:1]
    assert [read_rgb(path) for path in paths[1:]] == [None] * 3
    with pytest.raises(InputError, match='names no image'):
        require_files(paths[1:], 'list.txt')


def test_a_file_counts_once_however_many_links_lead_to_it(tmp_path):
    data, elsewhere = tmp_path / 'data', tmp_path / 'elsewhere'
    for path in (data / 'm/x.png', elsewhere / 'y.png', elsewhere / 'deep/z.png'):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (data / 'a_loop').symlink_to(data)
    (data / 'm/up').symlink_to('..')
    (data / 'a_link.png').symlink_to('m/x.png')
    (data / 'first.png').symlink_to(elsewhere / 'y.png')
    (data / 'second.png').symlink_to(elsewhere / 'y.png')
    (data / 'more').symlink_to(elsewhere / 'deep')
    (elsewhere / 'deep/back').symlink_to(data)
    (data / 'self.png').symlink_to('self.png')
    (data / 'gone.png').symlink_to('nowhere.png')
    os.link(data / 'm/x.png', data / 'copy.png')  # a file of its own
    found = [os.path.relpath(path, data) for path in find_images(str(data))]
    assert found == ['copy.png', 'first.png', 'gone.png', 'm/x.png', 'more/z.png', 'self.png']
    assert read_rgb(str(data / 'gone.png')) is read_rgb(str(data / 'self.png')) is None


@pytest.mark.parametrize('level', [np.nan, np.inf])
def test_levels_that_are_not_finite_cannot_be_decoded(tmp_path, level):
    levels = np.ones((4, 4), np.float32)
    levels[1, 2] = level
    Image.fromarray(levels).save(tmp_path / 'float.tif')
    assert read_rgb(str(tmp_path / 'float.tif')) is None


def test_a_bomb_is_not_decoded_but_a_large_photo_is(tmp_path, monkeypatch, recwarn):
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8))
    photo.save(tmp_path / 'photo.jpg')
    Image.new('RGB', (100, 100)).save(tmp_path / 'bomb.webp', lossless=True)
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 6000)
    assert read_rgb(str(tmp_path / 'photo.jpg')).size == (100, 100) and not recwarn.list
    monkeypatch.setattr(ImageFile.ImageFile, 'load', lambda self: pytest.fail('decoded'))
    assert read_rgb(str(tmp_path / 'bomb.webp')) is None
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 4000)
    assert read_rgb(str(tmp_path / 'photo.jpg')) is None


def test_checksums_of_a_png_are_checked(tmp_path):
    Image.effect_noise((40, 30), 80).save(tmp_path / 'noise.png')
    content = bytearray((tmp_path / 'noise.png').read_bytes())
    content[content.index(b'IDAT') + 300] ^= 1
    (tmp_path / 'noise.png').write_bytes(content)
    assert read_rgb(str(tmp_path / 'noise.png')) is None


def test_tiny_levels_are_stretched_too():
    assert np.asarray(to_rgb(Image.fromarray(RAMP.astype(np.float32) * np.float32(1e-30)))).max() == 255


@pytest.mark.parametrize('mode, name', [('RGB', 'a.jpg'), ('L', 'a.jpg'), ('CMYK', 'a.jpg'), ('RGB', 'a.mpo'), ('RGB', 'progressive.jpg')])
def test_a_jpeg_is_decoded_no_smaller_than_there_is_to_spare(tmp_path, mode, name):
    image = Image.fromarray(np.kron(np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8), np.ones((41, 53), np.uint8))).convert('RGB')
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned, which is not done
    image.convert(mode).save(tmp_path / name, 'MPO' if 'mpo' in name else 'JPEG', quality=95, exif=exif, progressive='progressive' in name)
    whole = read_rgb(str(tmp_path / name))
    for spare, factor in ((.3, 1), (1.9, 1), (2., 2), (3.99, 2), (7.9, 4), (8., 8), (99., 8)):
        asked = []
        small = read_rgb(str(tmp_path / name), lambda *size: asked.append(size) or spare)
        assert asked == [image.size] and small.mode == 'RGB' and full_size(small) == full_size(whole) == image.size
        assert small.size == tuple(-(-side // factor) for side in image.size)
        levels = np.asarray(small.resize((8, 8), Image.Resampling.BOX)).astype(int)
        assert np.abs(levels - np.asarray(whole.resize((8, 8), Image.Resampling.BOX))).max() < 16
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-2000])
    assert read_rgb(str(tmp_path / name), lambda *size: 4.) is None is read_rgb(str(tmp_path / name))


def test_what_is_no_jpeg_is_decoded_whole(tmp_path):
    Image.new('RGB', (64, 48)).save(tmp_path / 'a.png')
    assert read_rgb(str(tmp_path / 'a.png'), lambda *size: 8.).size == (64, 48)
