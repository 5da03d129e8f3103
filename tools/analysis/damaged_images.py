"""Feed hundreds of damaged and unusual image files to everything that reads images: python tools/analysis/damaged_images.py OUT

Files of all usual formats and modes are cut off, flipped byte by byte, zeroed in blocks, renamed, replaced by other files, given huge
sizes, levels that are not finite, damaged metadata; folders hold FIFOs, sockets, devices, broken links and loops. Each file goes
through views, class folders, detection, segmentation and video; some go through whole runs of tools/train.py, one bad file among
good ones and several of few.

A case is fine where the file decodes to its image, or to what its bytes now say where no decoder can know that they were others
(those are counted); it is a sentence where the file is passed over and named. SILENT is a file that gives another picture although
something says that it is broken: cut off, a bomb, NaN, no image at all.
"""
from __future__ import annotations

import argparse
import gc
import importlib.util
import os
import socket
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from campaign import FINE, REFUSED, Case, report, run_cases
from mmengine.config import Config
from PIL import Image, ImageOps

from mmdssl.datasets import ImageFolder, LabelledFolder
from mmdssl.datasets.davis import read_frame, read_mask
from mmdssl.datasets.images import find_images, read_rgb, require_files
from mmdssl.datasets.labelled_folder import UNREADABLE
from mmdssl.datasets.sample_world import make_sample_world
from mmdssl.errors import InputError
from mmdssl.registry import TRANSFORMS

ROOT = Path(__file__).resolve().parents[2]
SIZE = 56, 40  # width and height
ALTERED = 'decoded, but not to the original'  # counted in the logs
# suffix, mode, options of saving, and how far the levels of the decoded file may be from the original's on average
FORMATS = {
    'jpeg': ('jpg', 'RGB', dict(quality=90), 8), 'jpeg-progressive': ('jpg', 'RGB', dict(quality=90, progressive=True), 8),
    'jpeg-grey': ('jpg', 'L', dict(quality=90), 8), 'jpeg-cmyk': ('jpg', 'CMYK', dict(quality=90), 8),
    'png': ('png', 'RGB', {}, 0), 'png-rgba': ('png', 'RGBA', {}, 0), 'png-grey': ('png', 'L', {}, 0),
    'png-grey-alpha': ('png', 'LA', {}, 0), 'png-palette': ('png', 'P', {}, 30), 'png-transparent': ('png', 'P', dict(transparency=0), 30),
    'png-16': ('png', 'I;16', {}, 1), 'png-1': ('png', '1', {}, 130),
    'webp': ('webp', 'RGB', dict(quality=90), 8), 'webp-lossless': ('webp', 'RGBA', dict(lossless=True), 0),
    'gif': ('gif', 'P', {}, 30), 'bmp': ('bmp', 'RGB', {}, 0), 'bmp-grey': ('bmp', 'L', {}, 0),
    'tiff': ('tif', 'RGB', {}, 0), 'tiff-lzw': ('tif', 'RGB', dict(compression='tiff_lzw'), 0), 'tiff-cmyk': ('tif', 'CMYK', {}, 0),
    'tiff-float': ('tif', 'F', {}, 255), 'tiff-16': ('tif', 'I;16', {}, 1), 'tiff-jpeg': ('tif', 'RGB', dict(compression='jpeg'), 12),
    'ppm': ('ppm', 'RGB', {}, 0), 'pgm': ('pgm', 'L', {}, 0),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', type=Path, metavar='OUT', help='empty folder for the files and the log of each case')
    parser.add_argument('--only', default='', metavar='TEXT', help='only cases whose name has this in it')
    args = parser.parse_args()
    torch.set_num_threads(1)
    files = args.out.resolve() / 'files'
    files.mkdir(parents=True)
    warm_up(files)
    every = (case for cases in (file_cases, map_cases, folder_cases, run_cases_of) for case in cases(files))
    outcomes = run_cases((case for case in every if args.only in case.name), args.out / 'logs')
    altered = sum(ALTERED in (args.out / f'logs/{outcome.name}.log').read_text(errors='replace') for outcome in outcomes)
    print(f'{altered} files decode to another picture, and no decoder says so: bytes changed where the format has no check.')
    return report('Damaged images', outcomes)


def warm_up(files: Path) -> None:
    """Import everything once, before processes are copied, and let their garbage collectors, which datasets call, not look at it."""
    examine(place(files, 'first', encode('png'), 'png'), None, 0, False)
    examine_map(files / 'none.png', 'segmentation', np.zeros(1))
    gc.freeze()


def photo(mode: str = 'RGB', size: tuple[int, int] = SIZE) -> Image.Image:
    """Smooth colours and some noise, as a camera makes them."""
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    levels = np.stack([x, y, (x + y) / 2], -1) * 200 + np.random.default_rng(0).normal(25, 4, (*x.shape, 3))
    image = Image.fromarray(levels.clip(0, 255).astype(np.uint8))
    if mode == 'I;16':
        return Image.fromarray(np.asarray(image.convert('L')).astype(np.uint16) * 257)
    return image.convert(mode)


def encode(name: str) -> bytes:
    suffix, mode, options, _ = FORMATS[name]
    file = BytesIO()
    kinds = dict(jpg='jpeg', tif='tiff', pgm='ppm')
    photo(mode).save(file, kinds.get(suffix, suffix), **options)
    return file.getvalue()


def reference(name: str) -> np.ndarray:
    """What the file shows, made without reading it."""
    mode = FORMATS[name][1]
    if mode in ('L', 'LA', 'I;16', 'F', '1'):
        return np.asarray(photo('L').convert('RGB')).astype(int)
    return np.asarray(photo(mode).convert('RGB')).astype(int)


def readers_of(path: Path) -> dict[str, Callable[[], np.ndarray | None]]:
    """All that reads images: RGB pixels as each decodes them, None where it says that it cannot."""

    def refusing(read: Callable[[], np.ndarray]) -> np.ndarray | None:
        try:
            return read()
        except InputError as error:
            assert str(path) in str(error), error
            return None

    def dense() -> np.ndarray:
        return TRANSFORMS.build(dict(type='mmdssl.LoadImage'))(dict(img_path=str(path)))['img'][..., ::-1]

    return dict(detection=lambda: refusing(dense), video=lambda: refusing(lambda: read_frame(path)))


def examine(path: Path, wanted: np.ndarray | None, tolerance: float, may_differ: bool, must_fail: bool = False) -> int:
    """Read a file in every way; 0 where all give its image, 2 with a sentence where all refuse it, 3 where a reader is silent.

    Args:
        wanted: The picture.
        tolerance: Mean difference of levels that the format brings.
        may_differ: Whether no decoder can know that bytes are others than they were.
        must_fail: Whether the file says that it is no whole image.
    """
    decoded = read_rgb(str(path))
    views = ImageFolder(str(path.parent), views=dict(global_=dict(size=16, scale=(0.3, 1.), num=2)))
    index = [info['img_path'] for info in map(views.get_data_info, range(len(views)))].index(str(path))
    sample = views[0, 0, index]
    labelled = LabelledFolder(str(path.parent.parent), resize=16, size=16)
    item = next(labelled[i] for i in range(len(labelled)) if labelled.get_data_info(i)['img_path'] == str(path))
    refused = [str(path) in sample.skipped, item['label'] == UNREADABLE]
    others = {name: read() for name, read in readers_of(path).items()}
    refused += [found is None for found in others.values()]
    if set(refused) != {decoded is None}:
        print(f'readers disagree: refused {refused}, decoded {decoded}')
        return 3
    if decoded is None:
        print(f'error: {path.name} cannot be decoded')
        return 2
    if must_fail:
        print('accepted')
        return 3
    pixels = np.asarray(decoded).astype(int)
    turned = None
    with suppress(Exception):  # damaged metadata turn nothing
        turned = ImageOps.exif_transpose(Image.open(path)).size
    for name, found in others.items():
        if found.shape == pixels.shape and np.abs(found.astype(int) - pixels).max() == 0:
            continue
        if name != 'detection' or turned != found.shape[1::-1]:
            print(f'{name} reads other pixels')
            return 3
    if wanted is not None and (pixels.shape != wanted.shape or np.abs(pixels - wanted).mean() > tolerance):
        print(ALTERED)
        return 0 if may_differ and pixels.std() > 0 else 3
    return 0


def place(files: Path, name: str, content: bytes, suffix: str) -> Path:
    """A class folder with the file and two good ones; a GIF has another's name, as no folder of images is searched for its own."""
    suffix = suffix.replace('gif', 'gif.png')
    folder = files / name / 'class'
    folder.mkdir(parents=True)
    for good in 'ab':
        photo().save(folder / f'good-{good}.png')
    (folder / f'{name}.{suffix}').write_bytes(content)
    return folder / f'{name}.{suffix}'


def file_case(files: Path, name: str, content: bytes, suffix: str, wanted=None, tolerance=0., may_differ=False, must_fail=False,
              expected=FINE + REFUSED) -> Case:
    path = place(files, name, content, suffix)
    return Case(name, lambda: examine(path, wanted, tolerance + 0.01, may_differ, must_fail), REFUSED if must_fail else expected, limit=20)


def file_cases(files: Path) -> Iterator[Case]:
    for name, (suffix, _, _, tolerance) in FORMATS.items():
        whole, wanted, checked = encode(name), reference(name), suffix == 'png'  # by checksums
        tolerance = max(tolerance, np.abs(np.asarray(Image.open(BytesIO(whole)).convert('RGB')).astype(int) - wanted).mean()) \
            if tolerance not in (0, 1, 8) else tolerance
        yield file_case(files, name, whole, suffix, wanted, tolerance, expected=FINE)
        # What is left must be the picture, all of it, or be refused.
        for part in range(1, 13):
            yield file_case(files, f'{name}-cut-{part}', whole[:len(whole) * part // 13], suffix, wanted, tolerance)
        for rest in (1, 2, 12):
            yield file_case(files, f'{name}-cut-last-{rest}', whole[:-rest], suffix, wanted, tolerance)
        for part in range(12):
            position = (len(whole) - 1) * part // 11
            flipped = bytearray(whole)
            flipped[position] ^= 0xff
            yield file_case(files, f'{name}-flip-{part}', bytes(flipped), suffix, wanted, tolerance, may_differ=not checked)
        for part in (1, 2, 3):
            start = len(whole) * part // 4
            yield file_case(files, f'{name}-zeros-{part}', whole[:start] + bytes(64) + whole[start + 64:], suffix, wanted, tolerance,
                            may_differ=not checked)
        yield file_case(files, f'{name}-garbage-after', whole + b'more' * 20, suffix, wanted, tolerance, expected=FINE)
        yield file_case(files, f'{name}-garbage-before', b'more' * 20 + whole, suffix, must_fail=True)
        yield file_case(files, f'{name}-other-name', whole, 'png' if suffix == 'jpg' else 'JPG', wanted, tolerance, expected=FINE)
    yield from no_images(files)
    yield from sizes(files)
    yield from levels(files)
    yield from metadata(files)


def no_images(files: Path) -> Iterator[Case]:
    contents = dict(
        empty=b'', newline=b'\n', zeros=bytes(3000), text=b'no image', html=b'<!DOCTYPE html><html><body>404</body></html>',
        json=b'{"images": []}', pointer=b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n', pdf=b'%PDF-1.4\n%%EOF',
        svg=b'<svg xmlns="http://www.w3.org/2000/svg" width="5" height="5"/>', zip=b'PK\x03\x04' + bytes(40),
        random=np.random.default_rng(0).bytes(5000), postscript=b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n')
    for name, content in contents.items():
        for suffix in ('jpg', 'png', 'tif', 'webp'):
            yield file_case(files, f'{name}-as-{suffix}', content, suffix, must_fail=True)


def png(width: int, height: int, data: bytes = b'', kind: int = 2) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack('>I', len(content)) + name + content + struct.pack('>I', zlib.crc32(name + content))

    header = struct.pack('>IIBBBBB', width, height, 8, kind, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', data) + chunk(b'IEND', b'')


def bomb(width: int, height: int, channels: int) -> bytes:
    """The rows of a black PNG."""
    packer = zlib.compressobj()
    row = bytes(1 + width * channels)
    return b''.join([*(packer.compress(row) for _ in range(height)), packer.flush()])


def sizes(files: Path) -> Iterator[Case]:
    for width, height in ((0, 0), (0, 5), (5, 0), (2**31 - 1, 2**31 - 1), (60000, 60000), (12000, 12000), (2000000, 1)):
        name = f'declared-{width}x{height}'
        yield file_case(files, f'{name}-png', png(width, height, zlib.compress(bytes(50))), 'png', must_fail=True)
        yield file_case(files, f'{name}-ppm', b'P6 %d %d 255\n' % (width, height) + bytes(50), 'ppm', must_fail=True)
        header = struct.pack('<2sIHHIIiiHHIIiiII', b'BM', 104, 0, 0, 54, 40, min(width, 2**31 - 1), height, 1, 24, 0, 50, 0, 0, 0, 0)
        yield file_case(files, f'{name}-bmp', header + bytes(50), 'bmp', must_fail=True)
        if max(width, height) < 65536:
            frame = struct.pack('<HH', width, height)
            header = b'GIF89a' + frame + b'\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0' + frame
            yield file_case(files, f'{name}-gif', header + b'\0\2\2D\1\0;', 'gif', must_fail=True)
            whole = bytearray(encode('jpeg'))
            start = whole.index(b'\xff\xc0') + 5
            whole[start:start + 4] = struct.pack('>HH', height, width)
            yield file_case(files, f'{name}-jpeg', bytes(whole), 'jpg', must_fail=True)
    for channels, kind in ((1, 0), (3, 2), (4, 6)):
        for side in (9500, 13000, 13377):
            yield file_case(files, f'bomb-{side}-{channels}', png(side, side, bomb(side, side, channels), kind), 'png', must_fail=True)
    for width, height in ((1, 1), (1, 2), (3, 1), (1, 10000), (10000, 1), (2, 20000), (17, 1000)):
        image = photo(size=(width, height))
        for suffix, kind in (('png', 'png'), ('tif', 'tiff'), ('bmp', 'bmp')):
            file = BytesIO()
            image.save(file, kind)
            yield file_case(files, f'odd-{width}x{height}-{suffix}', file.getvalue(), suffix, np.asarray(image).astype(int), expected=FINE)
    large, file = photo(size=(10000, 9100)), BytesIO()
    large.save(file, 'jpeg')
    yield replace(file_case(files, 'photo-of-91-megapixels', file.getvalue(), 'jpg', expected=FINE), limit=200)


def levels(files: Path) -> Iterator[Case]:
    grey = np.asarray(photo('L'), np.float32)
    for name, value in (('nan', np.nan), ('inf', np.inf), ('minus-inf', -np.inf)):
        for share in (0.001, 0.5, 1.):
            spoilt = grey.copy()
            spoilt.flat[:max(1, int(share * grey.size))] = value
            file = BytesIO()
            Image.fromarray(spoilt).save(file, 'tiff')
            yield file_case(files, f'float-{name}-{share}', file.getvalue(), 'tif', must_fail=True)
    low, high = grey.min(), grey.max()
    stretched = np.repeat(((grey - low) * 255 / (high - low)).round()[..., None], 3, 2).astype(int)
    for factor in (1e-30, 1 / 255, 1., 1e30):
        file = BytesIO()
        Image.fromarray(grey * np.float32(factor)).save(file, 'tiff')
        yield file_case(files, f'float-times-{factor:.0e}', file.getvalue(), 'tif', stretched, 1, expected=FINE)
    file = BytesIO()
    Image.fromarray(grey.astype(np.int32) * 100000).save(file, 'tiff')
    yield file_case(files, 'integers-of-32-bits', file.getvalue(), 'tif', stretched, 1, expected=FINE)


def metadata(files: Path) -> Iterator[Case]:
    wanted = np.asarray(photo()).astype(int)
    exif = Image.Exif()
    exif[0x0112] = 6
    fields = {'exif-turned': dict(exif=exif), 'exif-nonsense': dict(exif=b'Exif\0\0nonsense'), 'exif-empty': dict(exif=b'Exif\0\0'),
              'exif-cut': dict(exif=exif.tobytes()[:-6]), 'icc-nonsense': dict(icc_profile=b'nonsense'),
              'icc-zeros': dict(icc_profile=bytes(500)), 'dpi': dict(dpi=(72, 72))}
    for name, options in fields.items():
        for suffix, kind, tolerance in (('jpg', 'jpeg', 8), ('png', 'png', 0), ('webp', 'webp', 8)):
            if kind == 'webp' and 'dpi' in options:
                continue
            file = BytesIO()
            photo().save(file, kind, **options)
            yield file_case(files, f'{name}-{suffix}', file.getvalue(), suffix, wanted, tolerance, expected=FINE)
    for suffix, kind, tolerance in (('gif', 'gif', 40), ('webp', 'webp', 12), ('png', 'png', 0), ('tif', 'tiff', 0)):
        file = BytesIO()
        photo().save(file, kind, save_all=True, append_images=[Image.new('RGB', SIZE), photo().rotate(180)])
        yield file_case(files, f'animated-{kind}', file.getvalue(), suffix, wanted, tolerance, expected=FINE)


def map_cases(files: Path) -> Iterator[Case]:
    """Label maps of segmentation and masks of video."""
    ids = (np.arange(SIZE[0] * SIZE[1]).reshape(SIZE[::-1]) // 300 % 4).astype(np.uint8)
    image = Image.fromarray(ids)
    image.putpalette(list(range(12)))
    file = BytesIO()
    image.save(file, 'png')
    whole = file.getvalue()
    contents = {f'cut-{part}': whole[:len(whole) * part // 12] for part in range(12)}
    for part in range(12):
        flipped = bytearray(whole)
        flipped[(len(whole) - 1) * part // 11] ^= 0xff
        contents[f'flip-{part}'] = bytes(flipped)
    contents |= dict(text=b'none', zero=png(0, 0), huge=png(60000, 60000), bomb=png(13000, 13000, bomb(13000, 13000, 1), 0))
    for name, pixels in dict(nan=np.where(ids > 2, np.nan, ids).astype(np.float32), half=ids.astype(np.float32) + 0.5,
                             wide=ids.astype(np.int32) + 300).items():
        file = BytesIO()
        Image.fromarray(pixels).save(file, 'tiff')
        contents[name] = file.getvalue()
    for name, content in contents.items():
        for task in ('segmentation', 'video'):
            path = files / f'map-{task}-{name}.png'
            path.write_bytes(content)
            yield Case(f'map-{task}-{name}', lambda path=path, task=task: examine_map(path, task, ids), FINE + REFUSED, limit=20)
    whole_file = files / 'map-whole.png'
    whole_file.write_bytes(whole)
    for task in ('segmentation', 'video'):
        yield Case(f'map-{task}-whole', lambda task=task: examine_map(whole_file, task, ids), FINE)
        pipe = files / f'map-{task}-pipe.png'
        os.mkfifo(pipe)
        yield Case(f'map-{task}-pipe', lambda pipe=pipe, task=task: examine_map(pipe, task, ids), REFUSED, limit=10)


def examine_map(path: Path, task: str, ids: np.ndarray) -> int:
    try:
        if task == 'video':
            found = read_mask(path)
        else:
            load = TRANSFORMS.build(dict(type='mmdssl.LoadLabelMap', num_classes=4))
            found = load(dict(seg_map_path=str(path), ori_shape=ids.shape, seg_fields=[], reduce_zero_label=False))['gt_seg_map']
    except InputError as error:
        print(f'error: {error}')
        return 2
    return 0 if np.array_equal(found, ids) else 3


def folder_cases(files: Path) -> Iterator[Case]:
    """What is in a folder beside files."""

    def make(name: str, fill: Callable[[Path], None]) -> Path:
        folder = files / f'folder-{name}' / 'class'
        folder.mkdir(parents=True)
        for good in 'ab':
            photo().save(folder / f'{good}.png')
        fill(folder)
        return folder

    def a_socket(folder: Path) -> None:
        here = os.getcwd()
        os.chdir(folder)  # the path of a socket must be short
        socket.socket(socket.AF_UNIX).bind('s.png')
        os.chdir(here)

    def links(folder: Path) -> None:
        for i in range(20):
            (folder / f'link{i}').symlink_to(folder)

    fills: dict[str, tuple[Callable[[Path], None], int]] = {  # and how many images there are then
        'fifo': (lambda folder: os.mkfifo(folder / 'c.png'), 2),
        'socket': (a_socket, 2),
        'zero-device': (lambda folder: (folder / 'c.png').symlink_to('/dev/zero'), 2),
        'null-device': (lambda folder: (folder / 'c.jpg').symlink_to('/dev/null'), 2),
        'terminal': (lambda folder: (folder / 'c.jpg').symlink_to('/dev/tty'), 2),
        'fifo-behind-link': (lambda folder: (os.mkfifo(folder / 'pipe'), (folder / 'c.png').symlink_to('pipe')), 2),
        'folder-with-suffix': (lambda folder: (folder / 'c.png').mkdir(), 2),
        'link-to-itself': (lambda folder: (folder / 'c.png').symlink_to('c.png'), 3),
        'broken-link': (lambda folder: (folder / 'c.png').symlink_to('gone'), 3),
        'two-links-to-nothing': (lambda folder: [(folder / f'{n}.png').symlink_to('gone') for n in 'cd'], 3),
        'link-to-file': (lambda folder: (folder / 'c.png').symlink_to('a.png'), 2),
        'link-to-parent': (lambda folder: (folder / 'up').symlink_to('..'), 2),
        'link-to-itself-as-folder': (lambda folder: (folder / 'again').symlink_to('.'), 2),
        'twenty-loops': (links, 2),
        'two-loops': (lambda folder: [(folder.parent / n / 'x').symlink_to(folder.parent / m) or (folder.parent / n).exists()
                                      for n, m in (('p', 'q'), ('q', 'p')) if not (folder.parent / n).mkdir(exist_ok=True)], 2),
        'hard-link': (lambda folder: os.link(folder / 'a.png', folder / 'c.png'), 3),
        'hidden': (lambda folder: [(folder / n).write_bytes(b'') for n in ('.c.png', '._a.png')], 2),
        'no-permission': (lambda folder: ((folder / 'closed').mkdir(), (folder / 'closed').chmod(0)), 2),
        'strange-names': (lambda folder: [photo().save(folder / n) for n in ('ä ö.png', 'new\nline.png', "quo'te.png", '%s{}.png')], 6),
        'bytes-in-name': (lambda folder: (Path(os.fsdecode(bytes(folder) + b'/\xff\xfe.png'))).write_bytes(
            (folder / 'a.png').read_bytes()), 3),
    }
    for name, (fill, number) in fills.items():
        folder = make(name, fill)
        yield Case(f'folder-{name}', lambda folder=folder, number=number: examine_folder(folder, number), limit=10)
    pipe = make('listed', lambda folder: os.mkfifo(folder / 'c.png')) / 'c.png'
    yield Case('list-of-a-fifo', lambda: refused(lambda: require_files([str(pipe)], 'list.txt')), REFUSED, limit=10)
    yield Case('list-of-what-is-gone', lambda: refused(lambda: require_files([f'{pipe}.jpg'], 'list.txt')), REFUSED)


def examine_folder(folder: Path, number: int) -> int:
    found = find_images(str(folder.parent))
    views = ImageFolder(str(folder.parent), views=dict(global_=dict(size=16, scale=(0.3, 1.), num=1)))
    for i in range(len(views)):
        skipped = views[0, 0, i].skipped
        if skipped and os.path.exists(skipped[0]):
            return 3
    print(len(found), 'images')
    return 0 if len(found) == len(views) == number else 3


def refused(call: Callable[[], object]) -> int:
    try:
        call()
    except InputError as error:
        print(f'error: {error}')
        return 2
    return 0


def tool(name: str):
    spec = importlib.util.spec_from_file_location(f'campaign_{name}', ROOT / f'tools/{name}.py')
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_cases_of(files: Path) -> Iterator[Case]:
    """Whole runs of tools/train.py and tools/test.py."""
    jpeg, train = encode('jpeg'), tool('train').main
    bad = dict(cut=jpeg[:len(jpeg) // 2], empty=b'', text=b'none', bomb=png(13000, 13000, bomb(13000, 13000, 4), 6), zero=png(0, 0))
    file = BytesIO()
    Image.fromarray(np.full((40, 40), np.nan, np.float32)).save(file, 'tiff')
    bad['nan'] = file.getvalue()
    bad['link'] = bad['fifo'] = None
    for kind, content in bad.items():
        for few in (False, True):
            name = f'run-{kind}-{"too-many" if few else "one"}'
            data = files / name / 'data'
            data.mkdir(parents=True)
            for i in range(12 if few else 120):
                photo(size=(24, 20)).rotate(i).save(data / f'{i}.png')
            paths = [data / f'bad-{i}.tif' for i in range(4 if few else 1)]
            for path in paths:
                if content is not None:
                    path.write_bytes(content)
                elif kind == 'link':
                    path.symlink_to('gone')
                else:
                    os.mkfifo(path)
            passed_over = kind == 'fifo'
            expected = REFUSED if few and not passed_over else FINE
            options = [pretraining_config(files / name, name), '--data', str(data), '--work-dir', str(files / name / 'run')]
            named = [] if few or passed_over else [str(path) for path in paths]
            yield Case(name, lambda options=options: train(options), expected, limit=60,
                       check=lambda work=files / name / 'run', named=named: named_once(work, named))
    yield from dense_runs(files)


def pretraining_config(folder: Path, name: str) -> str:
    path = folder / 'tiny.py'
    path.write_text(f"""
_base_ = '{ROOT}/configs/small/dino.py'
model = dict(backbone=dict(arch=dict(depth=1)))
train_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False)
train_cfg = dict(max_epochs=2)
param_scheduler = None
experiment_name = '{name}'
""")
    return str(path)


def named_once(work: Path, paths: list[str]) -> str | None:
    """What is wrong with how the log of a run names files."""
    log = ''.join(file.read_text() for file in work.glob('*/*.log'))
    for path in paths:
        times = log.count(f'{path} cannot be decoded')
        if times != 1 or '(1 so far)' not in log:
            return f'{path} is named {times} times in the log'
    return None


def dense_runs(files: Path) -> Iterator[Case]:
    """Detection, segmentation and video of the sample world, with a photo that is cut off, a pipe, or a broken map."""
    def cut(path: Path) -> None:
        path.write_bytes(path.read_bytes()[:-150])

    def pipe(path: Path) -> None:
        path.unlink()
        os.mkfifo(path)

    def first(folder: Path, pattern: str) -> Path:
        return min(folder.glob(pattern))

    weights = ['--cfg-options', 'train_dataloader.num_workers=0',
               'train_dataloader.persistent_workers=False', 'val_dataloader.num_workers=0', 'val_dataloader.persistent_workers=False',
               'train_dataloader.batch_size=2', 'train_cfg.max_iters=4', 'train_cfg.val_interval=4']
    jobs = {
        'segmentation': ('segmentation/small_semfpn_world', 'ade20k', 'images/training/*.jpg', 'annotations/training/*.png'),
        'detection': ('detection/small_mask-rcnn_world', 'coco', 'train2017/*.jpg', None),
    }
    train = tool('train').main
    for task, (config, data, photos, maps) in jobs.items():
        for damage, pattern, expected in ((cut, photos, FINE), (pipe, photos, REFUSED), (cut, maps, REFUSED), (pipe, maps, REFUSED)):
            if pattern is None:
                continue
            name = f'run-{task}-{damage.__name__}-{"map" if pattern == maps else "photo"}'
            world = files / name / 'world'
            make_sample_world(world, train=10, val=10, size=16, coco=(6, 2), ade20k=(6, 2), clips=(0, 1), frames=4, workers=1)
            path = first(world / data, pattern)
            damage(path)
            arguments = [str(ROOT / f'configs/{config}.py'), '--data', str(world / data), '--work-dir', str(files / name / 'run'), *weights,
                         f'experiment_name={name}']
            hooks = [hook['type'] for hook in Config.fromfile(arguments[0]).custom_hooks]
            arguments.append(f"custom_hooks.{hooks.index('mmdssl.SkippedImagesHook')}.max_share=0.9")
            named = [str(path)] if expected == FINE else []
            yield Case(name, lambda arguments=arguments: train(arguments), expected, limit=200,
                       check=lambda work=files / name / 'run', named=named: named_once(work, named))


if __name__ == '__main__':
    sys.exit(main())
