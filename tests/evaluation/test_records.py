from __future__ import annotations

import importlib.metadata

import torch
from torch import nn

from mmdssl.evaluation.records import append_record, fingerprint_text, fingerprint_weights, read_records


def test_records_come_back_in_order_with_what_made_them(tmp_path):
    path = tmp_path / 'results.jsonl'
    append_record(path, task='knn', metrics=dict(knn20_top1=12.5))
    append_record(path, task='knn', metrics=dict(knn20_top1=25.0), epoch=3)
    first, second = read_records(path)
    assert (first['metrics'], second['metrics']) == (dict(knn20_top1=12.5), dict(knn20_top1=25.0))
    assert second['epoch'] == 3
    assert first['versions']['torch'] == importlib.metadata.version('torch')
    assert {'mmdssl', 'timm', 'mmengine'} <= set(first['versions'])


def test_fingerprints_tell_weights_and_texts_apart():
    net = nn.Linear(3, 2)
    before = fingerprint_weights(net)
    assert before == fingerprint_weights(net)
    with torch.no_grad():
        net.weight[0, 0] += 1e-6
    assert fingerprint_weights(net) != before
    assert fingerprint_weights(net.to(torch.bfloat16)) != before
    assert fingerprint_text(['a', 'b']) == fingerprint_text(iter(['a', 'b'])) != fingerprint_text(['ab'])
