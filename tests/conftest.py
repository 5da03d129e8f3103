"""Fixtures for all tests: one thread, one seed, a tiny backbone, synthetic views; makes ``processes`` importable."""
from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer
from PIL import Image

from mmdssl.datasets.sample_world import make_sample_world
from mmdssl.datasets.views import ViewGroup, Views

sys.path.insert(0, str(Path(__file__).parent))
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def nothing_of_other_runs() -> None:
    """MMEngine keeps by name what a run of the same second would find again: its visualizer, whose folder may be gone; and the scope of
    mmdet or mmseg, in which a process that is forked from the tests' would look things up."""
    Visualizer._instance_dict.clear()
    current = DefaultScope.get_current_instance()
    if current is not None and current.scope_name in ('mmdet', 'mmseg'):
        DefaultScope._instance_dict.clear()


@pytest.fixture
def tiny_backbone() -> dict:
    """Config of a ViT of two blocks of width 16 that sees a 32 px image as 4 x 4 patches."""
    arch = dict(embed_dim=16, depth=2, num_heads=2)
    return dict(type='mmdssl.VisionTransformer', arch=arch, patch_size=8, img_size=32)


@pytest.fixture
def make_views():
    """Function that makes a batch of views of random normalised pixels, boxes and flips.

    Two global views of 32 px, two local ones of 16 px, ``query=(number, size)``. Where masked, the first view of the
    first image has no masked patch, the second view of the second image a single one. ``num`` is the number of global views;
    with ``labels``, every second image is of the first of two classes.
    """

    def make(batch_size: int = 3, masked: bool = True, local: bool = True, query: tuple[int, int] | None = None, num: int = 2,
             labels: bool = False):
        def group(number: int, size: int) -> ViewGroup:
            boxes = torch.rand(number, 4) * 40 + 10
            return ViewGroup(torch.randn(number, 3, size, size), boxes, torch.rand(number) > 0.5)

        samples = []
        for index in range(batch_size):
            groups = {'global': group(num, 32)}
            if masked:
                masks = torch.rand(2, 4, 4) > 0.6
                if index == 0:
                    masks[0] = False
                if index == 1:
                    masks[1] = torch.arange(16).view(4, 4) == 9
                groups['global'].masks = masks
            if local:
                groups['local'] = group(2, 16)
            if query:
                groups['query'] = group(*query)
            samples.append(Views(groups, torch.tensor(index), labels=torch.tensor(index % 2) if labels else None))
        return Views.collate(samples)

    return make


@pytest.fixture
def coco_root(tmp_path: Path) -> Path:
    """A COCO data set of two cats and a dog on four images of 40 x 30 px: ``annotations.json`` and ``images``."""
    images = [dict(id=i, file_name=f'{i}.png', width=40, height=30) for i in range(4)]
    annotations = [
        dict(id=10 + i, image_id=i, category_id=category, bbox=box, area=box[2] * box[3], iscrowd=0,
             segmentation=[[box[0], box[1], box[0] + box[2], box[1], box[0] + box[2], box[1] + box[3]]])
        for i, category, box in [(0, 3, [5, 5, 10, 10]), (1, 7, [20, 10, 15, 15]), (2, 3, [30, 20, 20, 20])]
    ]
    coco = dict(images=images, annotations=annotations, categories=[dict(id=3, name='cat'), dict(id=7, name='dog')])
    (tmp_path / 'annotations.json').write_text(json.dumps(coco))
    (tmp_path / 'images').mkdir()
    for image in images:
        Image.new('RGB', (40, 30), 'gray').save(tmp_path / 'images' / image['file_name'])
    return tmp_path


@pytest.fixture
def make_coco(coco_root: Path):
    """Function that builds mmdet's dataset of ``coco_root``, after ``change(json)``."""

    def make(change=lambda coco: None, **kwargs):
        from mmdet.datasets import CocoDataset  # takes seconds, which other tests need not wait for
        file = coco_root / 'annotations.json'
        coco = json.loads(file.read_text())
        change(coco)
        file.write_text(json.dumps(coco))
        return CocoDataset(**{**dict(ann_file='annotations.json', data_root=str(coco_root), pipeline=[],
                                     data_prefix=dict(img='images'), metainfo=dict(classes=('cat', 'dog'))), **kwargs})
    return make


@pytest.fixture
def real_data() -> Path:
    """Folder of real data sets; without it the test is skipped."""
    if 'MMDSSL_REAL_DATA' not in os.environ:
        pytest.skip('MMDSSL_REAL_DATA is not set')
    return Path(os.environ['MMDSSL_REAL_DATA'])


@pytest.fixture(scope='session')
def davis_root(tmp_path_factory) -> Path:
    """Three sequences of 6 frames of 192 x 112 px with 4, 2 and 4 objects, laid out as DAVIS-2017; do not change it."""
    root = tmp_path_factory.mktemp('world') / 'sample'
    make_sample_world(root, train=10, val=10, size=16, coco=(0, 0), ade20k=(0, 0), clips=(0, 3), frames=6, workers=1)
    return root / 'davis'
