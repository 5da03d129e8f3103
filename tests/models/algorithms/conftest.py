"""Makes ``float64_reference`` importable, and builds algorithms in which nothing cancels."""
from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from mmdssl.registry import MODELS

sys.path.insert(0, str(Path(__file__).parent))

HEAD = dict(num_prototypes=12, hidden_dim=20, bottleneck_dim=6)
WITH_HEAD = ('DINO', 'IBOT', 'ADCLR', 'PQCL')
PROJECTOR = dict(hidden_dim=20, out_dim=12)


@pytest.fixture
def make_algorithm(tiny_backbone):
    """Function that builds an algorithm: ``make('PQCL', backbone=dict(...), **kwargs)``.

    Student, teacher and centers are random and far from each other and from zero.
    """

    def make(name: str, backbone: dict | None = None, **kwargs):
        backbone = dict(tiny_backbone, **backbone or {})
        part, sizes = ('head', HEAD) if name in WITH_HEAD else ('projector', PROJECTOR)
        if name == 'SelfPatch':
            part, sizes = 'head', dict(cls=HEAD, patch=dict(HEAD, num_prototypes=9))
        kwargs[part] = dict(sizes, **kwargs.get(part, {}))
        algorithm = MODELS.build(dict(type=f'mmdssl.{name}', backbone=backbone, **kwargs))
        with torch.no_grad():
            for parameter in algorithm.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.2)
            for center in getattr(algorithm, 'centers', {}).values():
                center.center.normal_(std=0.1)
        return algorithm

    return make
