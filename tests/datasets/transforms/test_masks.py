from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from mmdssl.datasets.transforms import BlockMask, RandomMask
from mmdssl.errors import InputError


def counts(mask, size: int = 224, draws: int = 3000) -> np.ndarray:
    random.seed(0)
    return np.array([int(mask(size).sum()) for _ in range(draws)])


@pytest.mark.parametrize('ratio, mean', [(.1, 17.5), (.3, 57.3), (.5, 97.5)])
def test_block_mask_fills_nearly_the_target(ratio, mean):
    drawn = counts(BlockMask(ratio=ratio))
    assert drawn.mean() == pytest.approx(mean, abs=.15)
    assert drawn.max() == int(ratio * 196)
    if ratio == .3:
        assert drawn.min() >= 47  # 48 in 4.2, over some other number of draws


def test_block_mask_is_made_of_rectangles_everywhere():
    random.seed(0)
    masks = torch.stack([BlockMask()(224) for _ in range(500)]).float()
    neighbours = (masks[:, :, 1:] * masks[:, :, :-1]).sum() / masks[:, :, 1:].sum()
    assert neighbours > .7  # of independent patches it would be .3
    share = masks.mean(0)
    assert share.min() > 0 and share[5:9, 5:9].mean() > share[0].mean()  # blocks lie within the grid: fewer at its edge


def test_ratios_are_chosen_with_equal_chance():
    drawn = counts(RandomMask(ratio=[0, .3], variance=[0, .2]), draws=4000)
    assert (drawn == 0).mean() == pytest.approx(.5, abs=.03)
    masked = drawn[drawn > 0]
    assert masked.min() >= int(.1 * 196) and masked.max() <= int(.5 * 196)
    assert masked.mean() == pytest.approx(.3 * 196 - .5, abs=1.5)
    assert masked.std() == pytest.approx(.4 * 196 / 12 ** .5, abs=1)


def test_random_mask_is_exact_and_uniform():
    assert set(counts(RandomMask(patch_size=8, ratio=.3), size=64, draws=50)) == {int(.3 * 64)}
    random.seed(0)
    share = torch.stack([RandomMask()(224) for _ in range(2000)]).float().mean(0)
    assert (share - 58 / 196).abs().max() < .05


@pytest.mark.parametrize('mask', [BlockMask, RandomMask])
def test_shape_and_no_masking(mask):
    drawn = mask(patch_size=8, ratio=0)(96)
    assert drawn.shape == (12, 12) and drawn.dtype == torch.bool and not drawn.any()


@pytest.mark.parametrize('arguments', [dict(ratio=[0, .3], variance=[0]), dict(ratio=.3, variance=.4), dict(ratio=1.2)])
def test_settings_that_do_not_fit_are_input_errors(arguments):
    with pytest.raises(InputError, match='ratio='):
        BlockMask(**arguments)


GOLDEN = json.loads((Path(__file__).parents[2] / 'golden/block_masks.json').read_text())


@pytest.mark.parametrize('case', GOLDEN['masks'], ids=lambda case: str(case['seed']))
def test_block_masks_are_those_of_the_public_code(case):
    random.seed(case['seed'])
    mask = BlockMask(aspect=GOLDEN['aspect']).draw(case['grid'], case['target'])
    assert np.flatnonzero(mask).tolist() == case['masked']
