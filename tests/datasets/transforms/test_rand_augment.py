from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from timm.data import create_transform

from mmdssl.datasets.seeding import seeded
from mmdssl.datasets.transforms import RandAugment
from mmdssl.errors import InputError


def test_it_is_the_one_of_timms_training():
    """What :func:`timm.data.create_transform` puts between the flip and the tensor."""
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    image = Image.fromarray(pixels)
    judge = create_transform(64, is_training=True, auto_augment='rand-m9-mstd0.5-inc1', color_jitter=0.4, interpolation='bicubic',
                             separate=True)[1]
    ours, changed = RandAugment(size=64), 0
    for seed in range(20):
        with seeded(seed):
            expected = np.asarray(judge(image))
        with seeded(seed):
            found = np.asarray(ours(image))
        assert (found == expected).all()
        changed += (found != pixels).any()
    assert changed > 10


@pytest.mark.parametrize('recipe', ['rand-x9', 'augmix', ''])
def test_a_recipe_that_timm_cannot_read(recipe):
    with pytest.raises(InputError, match='which timm cannot read'):
        RandAugment(recipe=recipe)


def test_the_strongest_operations_can_be_drawn():
    """At a magnitude of 10, which a normal one around 9 reaches now and then, posterizing keeps no bit."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8))
    found = {}
    for operation in RandAugment(size=16).augment.ops:
        operation.prob, operation.magnitude, operation.magnitude_std = 1., 10, 0
        found[operation.name] = np.asarray(operation(image))
    assert not found['PosterizeIncreasing'].any() and len(found) == 15
    assert all(each.shape == (16, 16, 3) for each in found.values())
