"""Activation checkpointing by a config."""
from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from sharded_ranks import CASES

from mmdssl.errors import InputError

sys.path.insert(0, str(Path(__file__).parents[1] / 'models/algorithms'))
from runs import draw_images, recipe, run, values_of


@pytest.mark.parametrize('case, views, blocks', [
    ('dino', recipe(), 'student.backbone.blocks'),
    ('beit', recipe('BlockMask', local=False), ['backbone.blocks.0', 'backbone.blocks.1'])])
def test_a_run_is_the_same_when_blocks_compute_twice(tmp_path, case, views, blocks):
    draw_images(tmp_path / 'data')
    plain = run(CASES[case], views, tmp_path / 'data', tmp_path / 'plain')
    twice = run(CASES[case], views, tmp_path / 'data', tmp_path / 'twice', activation_checkpointing=blocks)
    torch.testing.assert_close(values_of(twice), values_of(plain), rtol=0, atol=0)
    backbone = twice.model.get_submodule(str(blocks if isinstance(blocks, str) else blocks[0]).split('.blocks')[0])
    assert all(block.forward.keywords == dict(use_reentrant=False) for block in backbone.blocks)
    assert backbone.heat_map(torch.rand(2, 3, 32, 32)).shape[0] == 2  # which gives blocks some arguments by name


def test_a_name_of_nothing_is_told(tmp_path):
    draw_images(tmp_path / 'data')
    with pytest.raises(InputError, match="activation_checkpointing='student.blocks': DINO has no such module; its parts are .*student"):
        run(CASES['dino'], recipe(), tmp_path / 'data', tmp_path / 'run', activation_checkpointing=['student.blocks'])
