from __future__ import annotations

import torch
from mmengine.registry import MODELS
from torchvision.transforms import functional as F

from mmdssl.datasets import ViewGroup, Views, ViewsPreprocessor


def test_pixels_become_normalised_floats_and_the_rest_stays():
    images = torch.randint(256, (2, 4, 3, 8, 8), dtype=torch.uint8)
    group = ViewGroup(images, torch.rand(2, 4, 4), torch.zeros(2, 4, dtype=torch.bool))
    batch = Views({'global': group}, torch.arange(4), ['broken.jpg'])
    views = MODELS.build(dict(type='mmdssl.ViewsPreprocessor'))(batch, training=True)['views']
    expected = F.normalize(images.flatten(0, 1) / 255, (.485, .456, .406), (.229, .224, .225))
    torch.testing.assert_close(views['global'].images, expected.view_as(images), atol=1e-5, rtol=1e-5)
    assert torch.equal(views['global'].boxes, group.boxes) and views.skipped == ['broken.jpg']
    assert batch['global'].images.dtype == torch.uint8  # the batch itself is left alone


def test_everything_follows_the_module_to_its_device():
    parent = torch.nn.Sequential(ViewsPreprocessor()).to('meta')
    assert parent[0].normalise(torch.zeros(3, 4, 4, dtype=torch.uint8)).device.type == 'meta'
    group = ViewGroup(torch.zeros(1, 1, 3, 4, 4, dtype=torch.uint8), torch.zeros(1, 1, 4), torch.zeros(1, 1))
    views = parent[0](Views({'global': group}, torch.arange(1)))['views']
    assert {tensor.device.type for tensor in (views['global'].images, views['global'].boxes, views.indices)} == {'meta'}


def test_no_entry_in_checkpoints():
    assert not ViewsPreprocessor().state_dict()
