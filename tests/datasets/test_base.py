from __future__ import annotations

import pickle
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS
from PIL import Image
from torch.utils.data import DataLoader

from mmdssl.datasets import ImageFolder, Views, ViewsPreprocessor, collate_views
from mmdssl.datasets.base import seeded
from mmdssl.datasets.workers import _start_worker
from mmdssl.errors import InputError

VIEWS = {
    'global': dict(size=32, scale=(.14, 1.), mask=dict(patch_size=8), photometric=[
        dict(blur_prob=1.), dict(blur_prob=.1, solarize_prob=.2)]),
    'query': dict(size=16, scale=(.05, .25), flip=0., num=3, photometric=dict()),
}


def tensors(views: Views) -> list[torch.Tensor]:
    found = []
    views.apply(lambda tensor: found.append(tensor) or tensor)
    return found


def same(a: Views, b: Views) -> bool:
    return all(torch.equal(x, y) for x, y in zip(tensors(a), tensors(b), strict=True))


def test_item_is_the_views_of_one_image(image_root):
    views = ImageFolder(str(image_root), views=VIEWS)[(0, 2, 5)]
    assert list(views) == ['global', 'query'] and views.indices == 5 and views.skipped == []
    assert views['global'].images.shape == (2, 3, 32, 32) and views['global'].masks.shape == (2, 4, 4)
    assert views['query'].images.shape == (3, 3, 16, 16) and views['query'].masks is None


def test_views_depend_on_seed_epoch_and_index_alone(image_root):
    dataset = ImageFolder(str(image_root), views=VIEWS)
    first = dataset[(0, 3, 5)]
    dataset[(0, 3, 4)], torch.rand(7), random.random()
    assert same(first, dataset[(0, 3, 5)]) and same(first, ImageFolder(str(image_root), views=VIEWS)[(0, 3, 5)])
    assert same(dataset[(0, 0, 5)], dataset[5])
    for other in (dataset[(0, 4, 5)], dataset[(0, 5, 3)], dataset[(1, 3, 5)]):
        assert not same(first, other)


def test_number_of_workers_does_not_matter(image_root):
    keys = [(0, 1, index) for index in range(12)]
    batches = [list(DataLoader(ImageFolder(str(image_root), views=VIEWS), 4, sampler=keys, num_workers=workers,
                               collate_fn=collate_views)) for workers in (0, 2)]
    assert len(batches[0]) == 3
    assert all(same(a, b) for a, b in zip(*batches, strict=True))
    assert batches[1][0]['global'].images.shape == (2, 4, 3, 32, 32)


def test_global_generators_are_left_as_they_were(image_root):
    def draws():
        return torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()

    dataset = ImageFolder(str(image_root), views=VIEWS)
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    expected = draws()
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    dataset[3]
    assert draws() == expected


def test_seeded_covers_every_generator_and_restores_after_an_error():
    def draws():
        return torch.rand(1).item(), np.random.rand(), random.random()

    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    expected = draws()
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    with seeded(0, 1, 2):
        inside = draws()
    with pytest.raises(KeyError), seeded(0, 2, 1):
        assert all(a != b for a, b in zip(draws(), inside))
        raise KeyError
    assert draws() == expected
    with seeded(0, 1, 2):
        assert draws() == inside


def test_pipeline_works_on_the_decoded_image(image_root):
    def shrink(results):
        assert results['img_path'].endswith('.png')
        return {**results, 'img': results['img'].resize((20, 10))}

    boxes = ImageFolder(str(image_root), views=VIEWS, pipeline=[shrink])[0]['global'].boxes
    assert (boxes[:, 0] + boxes[:, 2] <= 20).all() and (boxes[:, 1] + boxes[:, 3] <= 10).all()


def test_broken_file_gives_its_place_to_another_image(image_root):
    dataset = ImageFolder(str(image_root), views=VIEWS)
    broken = image_root / 'first/03.png'
    broken.write_bytes(broken.read_bytes()[:1000])
    views = dataset[(0, 0, 3)]
    assert views.skipped == [str(broken)] and views.indices != 3
    assert same(views, dataset[(0, 0, 3)])
    assert len({int(dataset[(0, epoch, 3)].indices) for epoch in range(20)}) > 5  # not always the same one
    batch = collate_views([dataset[0], dataset[3], dataset[4]])
    assert batch.skipped == [str(broken)] and batch.indices.tolist()[::2] == [0, 4]


def test_nothing_but_broken_files_is_an_input_error(image_root):
    dataset = ImageFolder(str(image_root), views=VIEWS)
    for path in image_root.rglob('*.png'):
        path.write_bytes(b'')
    with pytest.raises(InputError, match='10 files in a row could not be decoded'):
        dataset[0]


def test_indices_choose_and_config_builds(image_root):
    config = dict(type='mmdssl.ImageFolder', data_root=str(image_root), views=VIEWS, indices=[4, 7])
    dataset = DATASETS.build(config)
    assert len(dataset) == 2 and dataset.get_data_info(1)['img_path'].endswith('07.png')
    assert len(ImageFolder(str(image_root), views=VIEWS, indices=5)) == 5


def test_a_group_can_be_dropped_but_not_all(image_root):
    assert list(ImageFolder(str(image_root), views={**VIEWS, 'query': None})[0]) == ['global']
    for none in ({}, {'global': None}):
        with pytest.raises(InputError, match='at least one group'):
            ImageFolder(str(image_root), views=none)


def boxed(image_root, **kwargs) -> ImageFolder:
    return ImageFolder(str(image_root), views={**VIEWS, 'global': {**VIEWS['global'], 'box_alpha': .6}}, **kwargs)


def test_boxes_move_the_views_that_ask_for_them(image_root):
    plain, dataset = ImageFolder(str(image_root), views=VIEWS), boxed(image_root)
    assert plain.crop_boxes is None and dataset.crop_boxes.tolist() == [[0, 0, 1, 1]] * 12
    assert all(same(plain[(0, epoch, 3)], dataset[(0, epoch, 3)]) for epoch in range(5))
    dataset.crop_boxes[3] = torch.tensor([.5, .5, .5, .5])
    views, before = dataset[(0, 0, 3)], plain[(0, 0, 3)]
    centres = views['global'].boxes[:, :2] + views['global'].boxes[:, 2:] / 2
    width, height = 47, 43
    assert (centres - torch.tensor([width / 2, height / 2])).abs().max() <= 1
    assert not torch.equal(views['global'].boxes, before['global'].boxes)
    assert all(same(plain[(0, 0, other)], dataset[(0, 0, other)]) for other in (2, 4))
    query = ImageFolder(str(image_root), views=dict(query=VIEWS['query']))
    assert views['query'].images.shape == query[(0, 0, 3)]['query'].images.shape
    assert views['query'].boxes.unique(dim=0).shape[0] > 1


def test_loader_processes_see_boxes_change(image_root):
    """Persistent ones, in the middle of their life; views do not depend on their number."""
    datasets, keys = [boxed(image_root) for _ in range(2)], [(0, 1, index) for index in range(12)]
    loaders = [DataLoader(dataset, 4, sampler=keys, num_workers=workers, collate_fn=collate_views,
                          persistent_workers=workers > 0) for dataset, workers in zip(datasets, (0, 2))]
    before = [list(loader) for loader in loaders]
    for dataset in datasets:
        dataset.crop_boxes.copy_(torch.tensor([.1, .1, .2, .3]).repeat(12, 1) * torch.arange(1, 4).repeat(4)[:, None])
    after = [list(loader) for loader in loaders]
    for epoch in (before, after):
        assert all(same(a, b) for a, b in zip(*epoch, strict=True))
    assert not any(same(a, b) for a, b in zip(before[1], after[1]))


def test_an_image_that_takes_anothers_place_has_its_own_box(image_root):
    dataset = boxed(image_root)
    (image_root / 'first/03.png').write_bytes(b'')
    taken = int(dataset[(0, 0, 3)].indices)
    before = dataset[(0, 0, 3)]
    dataset.crop_boxes[3] = torch.tensor([.1, .1, .2, .2])
    assert same(before, dataset[(0, 0, 3)])
    dataset.crop_boxes[taken] = torch.tensor([.1, .1, .2, .2])
    assert not same(before, dataset[(0, 0, 3)])


def test_whole_image_is_what_views_are_cropped_from(image_root):
    dataset = boxed(image_root, pipeline=[lambda results: {**results, 'img': results['img'].resize((20, 10))}])
    assert dataset.whole_image(2).size == (20, 10)
    (image_root / 'first/03.png').write_bytes(b'')
    assert dataset.whole_image(3) is None


def test_colours_on_the_device_are_those_of_the_loader(image_root):
    """From any number of workers, as a function of the key; boxes, flips and masks are the same; pixels to rounding."""
    keys = [(0, 1, index) for index in range(12)]
    here, alone, there = (list(DataLoader(ImageFolder(str(image_root), views=VIEWS, backend='fast', photometric_device=device), 4,
                                          sampler=keys, num_workers=workers, collate_fn=collate_views))
                          for device, workers in ((False, 0), (True, 0), (True, 2)))
    preprocessor = ViewsPreprocessor(mean=(0., 0., 0.), std=(1., 1., 1.))
    for a, b, other in zip(here, alone, there, strict=True):
        assert same(b, other)
        assert b['global'].photometric.shape == (2, 4, 1, 16) and b['query'].photometric.shape == (3, 4, 1, 16)
        (a, ), (b, ), (again, ) = (preprocessor(batch).values() for batch in (a, b, b))
        assert same(b, again)
        for name in a:
            assert all(torch.equal(getattr(a[name], field), getattr(b[name], field)) for field in ('boxes', 'flips'))
            assert (a[name].images - b[name].images).abs().mean() < .05 and b[name].photometric is None
        assert torch.equal(a['global'].masks, b['global'].masks)


def test_large_photographs_are_decoded_small_where_crops_allow_it(tmp_path):
    """By the smallest crop that any group can draw; boxes are those of the whole image; what looks at the image itself gets all of it."""
    x, y = np.meshgrid(np.linspace(0, 255, 640), np.linspace(0, 255, 480))
    Image.fromarray(np.stack([x, y, x], -1).astype(np.uint8)).save(tmp_path / 'a.jpg', quality=95)
    large, small = dict(size=32, scale=(.25, 1.), num=2), dict(size=16, scale=(.05, .1), num=2)
    sizes = []

    def dataset(scaled=True, **arguments):
        found = ImageFolder(str(tmp_path), scaled_decoding=scaled, **arguments)
        read = found.read
        found.read = lambda info: sizes.append(read(info)) or sizes[-1]
        return found

    for views, width in ((dict(global_=large), 160), (dict(global_=large, local=small), 160), (dict(local={**small, 'size': 32}), 320),
                         (dict(global_={**large, 'size': 200}), 640)):
        ours, whole = dataset(views=views)[(0, 1, 0)], dataset(False, views=views)[(0, 1, 0)]
        assert sizes[-2].width == width and sizes[-1].width == 640
        for name in ours:
            assert torch.equal(ours[name].boxes, whole[name].boxes) and torch.equal(ours[name].flips, whole[name].flips)
            assert (ours[name].images.float() - whole[name].images.float()).abs().mean() < 1.5
    views = dict(global_=large)
    dataset(views=views, pipeline=[lambda results: results])[0]
    dataset(views=views).whole_image(0)
    dataset(views=dict(global_={**large, 'before': dict(type=Keep)}))[0]
    assert [image.width for image in sizes[-3:]] == [640] * 3


class Keep:
    def __call__(self, image):
        return image


def test_a_process_that_is_spawned_to_load_data_imports_little(image_root):
    """Views with the fast backend, what starts a worker, and what makes batches: without what takes seconds and hundreds of megabytes."""
    dataset = ImageFolder(str(image_root), views=VIEWS, backend='fast')
    work = pickle.dumps((dataset, collate_views, _start_worker))
    assert len(work) < 10_000
    done = subprocess.run([sys.executable, '-c', LOAD], input=work, capture_output=True, check=True, cwd=Path(__file__).parents[2])
    imported = set(done.stdout.decode().split())
    assert not imported & {'torchvision', 'timm', 'scipy', 'transformers', 'mmcv', 'torch._dynamo', 'mmengine.runner', 'mmengine.model',
                           'mmdssl.datasets.contents', 'mmdssl.engine', 'mmdssl.models'}
    assert {'torch', 'mmdssl.datasets.image_folder'} <= imported


LOAD = """
import pickle, sys
dataset, collate, _ = pickle.load(sys.stdin.buffer)
collate([dataset[0, 0, 1], dataset[0, 0, 2]])
print(*sys.modules)
"""
