"""What tools/analysis/bam_loss.py compares must be the same loss."""
from __future__ import annotations

import argparse

import pytest

SIZES = argparse.Namespace(batch_size=6, views=4, dim=8, steps=1)


@pytest.mark.parametrize('with_teacher', [True, False])
def test_all_formulations_give_the_same_loss_and_gradient(load_tool, with_teacher):
    tool = load_tool('analysis/bam_loss')
    plain, *others = (tool.measure(name, with_teacher, SIZES)[2:] for name in tool.FORMULATIONS)
    assert len(others) == 2
    for values in others:
        assert values == pytest.approx(plain, rel=1e-4)
