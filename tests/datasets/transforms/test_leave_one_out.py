from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as F

from mmdssl.datasets.preprocessor import adjusted
from mmdssl.datasets.seeding import seeded
from mmdssl.datasets.transforms import LeaveOneOutViews, RightAngle
from mmdssl.datasets.views import Views
from mmdssl.errors import InputError
from mmdssl.registry import TRANSFORMS

WHOLE = dict(size=24, scale=(1., 1.), ratio=(1., 1.), flip=0.)


@TRANSFORMS.register_module()
class Level:
    """Sets one channel to a level that is drawn."""

    def __init__(self, channel: int):
        self.channel = channel

    def __call__(self, image: Image.Image) -> Image.Image:
        pixels = np.array(image)
        pixels[..., self.channel] = random.randrange(256)
        return Image.fromarray(pixels)


def levels(number: int = 3) -> LeaveOneOutViews:
    return LeaveOneOutViews(**WHOLE, families={f'channel {i}': dict(type='Level', channel=i) for i in range(number)})


def test_each_key_shares_the_family_that_it_is_of_and_no_other():
    image = Image.new('RGB', (24, 24))
    with seeded(0):
        views = levels()(image)
    assert views.images.shape == (5, 3, 24, 24) and views.boxes.shape == (5, 4)
    query, free, *keys = views.images[:, :, 0, 0].tolist()
    assert all(a != b for a, b in zip(query, free))
    for i, key in enumerate(keys):
        assert [a == b for a, b in zip(query, key)] == [j == i for j in range(3)]


def test_views_are_the_same_for_the_same_seed_and_others_for_another():
    image = Image.new('RGB', (24, 24))

    def draw(seed):
        with seeded(seed):
            return levels()(image).images
    assert torch.equal(draw(0), draw(0)) and not torch.equal(draw(0), draw(1))


def test_the_families_of_the_paper_can_be_shared():
    """Jitter in random order, grayscale, rotation, blur: whatever is drawn, the key has it as the query has."""
    families = dict(color=dict(blur_prob=0.), rotation=dict(type='RightAngle'),
                    texture=dict(jitter_prob=0., gray_prob=0., blur_prob=.5))
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8))
    for name, recipe in families.items():
        crop = LeaveOneOutViews(**WHOLE, families={name: recipe})
        free = []
        for seed in range(8):
            with seeded(seed):
                query, other, key = crop(noise).images
            assert torch.equal(query, key)
            free.append(torch.equal(query, other))
        assert not all(free)


def test_right_angles():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8))
    turned = {k: F.pil_to_tensor(image).rot90(k, (1, 2)) for k in range(4)}
    with seeded(0):
        found = [F.pil_to_tensor(RightAngle()(image)) for _ in range(40)]
    assert {next(k for k, expected in turned.items() if torch.equal(view, expected)) for view in found} == {0, 1, 2, 3}


def test_no_family_is_an_input_error():
    with pytest.raises(InputError, match='views of size 24 have no families of augmentations'):
        LeaveOneOutViews(**WHOLE, families={})


def test_the_device_does_what_is_left_of_the_families():
    """Rotations and colours may change places; a family of another kind, and what comes before it, is done at once."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8))
    color, texture = dict(blur_prob=0.), dict(jitter_prob=0., gray_prob=0., blur_prob=.5)
    for middle, turns in ((dict(type='RightAngle'), 2), (dict(type='Level', channel=1), 1)):
        found = []
        for device in (False, True):
            crop = LeaveOneOutViews(**WHOLE, families=dict(color=color, middle=middle, texture=texture))
            crop.backend, crop.photometric_device = 'fast', device
            with seeded(4):
                found.append(crop(image))
        assert found[1].photometric.shape == (5, turns, 16)
        done = adjusted(Views({'global': found[1]}, torch.tensor(0)))['global']
        distance = (done.images.float() - found[0].images.float()).abs()
        assert distance.mean() < .05 and not torch.equal(found[1].images, found[0].images) and torch.equal(done.boxes, found[0].boxes)
