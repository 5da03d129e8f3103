"""Two gloo processes against one: losses, gradients, queues, centers, batch norms, teachers."""
from __future__ import annotations

import pytest
import torch
from processes import run_ranks
from ranks import CASES, run_as_rank, train


@pytest.fixture(scope='module')
def two(tmp_path_factory) -> list[dict]:
    """What each of two processes has computed, by case."""
    folder = tmp_path_factory.mktemp('ranks')
    run_ranks(run_as_rank, 2, folder)
    return [torch.load(folder / str(rank)) for rank in range(2)]


@pytest.mark.parametrize('case', CASES)
def test_processes_together_compute_what_one_does(two, case):
    expected = train(case)
    for rank in two:
        found = rank[case]
        assert set(found) == set(expected)
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-8, msg=lambda text: f'{name}: {text}')


def test_losses_differ_between_cases_and_steps(two):
    """So that the comparison compares something."""
    losses = [value.item() for case in CASES for name, value in two[0][case].items() if ': loss' in name]
    assert len(set(losses)) == len(losses) >= 3 * len(CASES)
