"""Files in the authors' own layouts: their features are what the authors' forward passes give."""
from __future__ import annotations

import json
from itertools import groupby

import pytest
import torch
from golden_files import GOLDEN, Golden

from mmdssl.checkpoint import load_backbone

FEATURES = Golden('checkpoints/features')
FILES = FEATURES.config['files']
CASES = [key for key, _ in groupby(sorted(FEATURES.under('')), lambda name: name.rpartition('.')[0]) if not key.startswith('images')]
HEADS = dict(bam=12)


@pytest.mark.parametrize('case', [case for case in CASES if case != 'images'])
def test_features_are_the_authors(case):
    file, network, size = case.split('.')
    role = None if network == 'encoder' else network
    backbone = load_backbone(GOLDEN / 'checkpoints' / FILES[file], network=role)
    assert backbone.num_heads == HEADS.get(file, 1)
    with torch.no_grad():
        tokens = backbone.forward_tokens(FEATURES[f'images.{size}'])
    for name, found in (('cls', tokens.cls), ('patches', tokens.patches)):
        if f'{case}.{name}' in FEATURES:
            torch.testing.assert_close(found, FEATURES[f'{case}.{name}'], rtol=0, atol=2e-5)


def test_every_file_is_looked_at():
    assert {case.split('.')[0] for case in CASES} == set(FILES), json.dumps(CASES)
