from __future__ import annotations

import torch
from torch import nn

from mmdssl.checkpoint.fingerprint import fingerprint_weights


def test_fingerprints_tell_weights_apart():
    net = nn.Linear(3, 2)
    before = fingerprint_weights(net)
    assert before == fingerprint_weights(net)
    with torch.no_grad():
        net.weight[0, 0] += 1e-6
    assert fingerprint_weights(net) != before
    assert fingerprint_weights(net.to(torch.bfloat16)) != before
