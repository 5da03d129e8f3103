"""A frozen backbone as a model."""
from __future__ import annotations

import pytest

from mmdssl.errors import InputError
from mmdssl.registry import MODELS


def test_a_loop_over_samples_is_told_which_loop_reads_features(tiny_backbone):
    model = MODELS.build(dict(type='FrozenBackbone', backbone=tiny_backbone))
    with pytest.raises(InputError, match='FrozenBackbone makes nothing of single samples: set test_cfg.type to ProtocolLoop'):
        model.test_step([dict()])
    assert not model.train().training
