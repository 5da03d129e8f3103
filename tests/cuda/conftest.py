"""What needs a GPU is skipped without one; MMDSSL_CUDA_TESTS=cpu runs the rest of it on the CPU, to see that the tests themselves work."""
from __future__ import annotations

import os

import pytest
import torch

ON_CPU = os.environ.get('MMDSSL_CUDA_TESTS') == 'cpu'


@pytest.fixture
def device() -> torch.device:
    if not torch.cuda.is_available() and not ON_CPU:
        pytest.skip('there is no GPU')
    return torch.device('cpu' if ON_CPU else 'cuda')


@pytest.fixture
def gpu(device) -> torch.device:
    """For what no CPU can do."""
    if device.type != 'cuda':
        pytest.skip('there is no GPU')
    return device
