"""Makes ``float64_reference`` importable, and builds algorithms in which nothing cancels."""
from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from mmdssl.registry import MODELS

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def make_algorithm(tiny_backbone):
    """Function that builds an algorithm: ``make('PQCL', backbone=dict(...), **kwargs)``.

    Student, teacher and centers are random and far from each other and from zero.
    """

    from algorithm_configs import config_of

    def make(name: str, backbone: dict | None = None, **kwargs):
        algorithm = MODELS.build(config_of(name, dict(tiny_backbone, **backbone or {}), **kwargs))
        with torch.no_grad():
            for parameter in algorithm.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.2)
            for center in getattr(algorithm, 'centers', {}).values():
                center.center.normal_(std=0.1)
        return algorithm

    return make
