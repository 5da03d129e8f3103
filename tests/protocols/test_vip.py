from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score
from tiny_videos import write_vip
from video_run import CONFIGS

from mmdssl.cli.test import main
from mmdssl.datasets.davis import list_samples
from mmdssl.datasets.palette import save_mask
from mmdssl.datasets.vip import VIP
from mmdssl.errors import InputError
from mmdssl.protocols.vip import VIPMetric
from mmdssl.registry import MODELS
from mmdssl.results.records import read_records


@MODELS.register_module()
class PartColours(torch.nn.Module):
    """Perfect features: the colour of each cell, or, ``constant``, none."""

    def __init__(self, constant: bool = False):
        super().__init__()
        self.constant = constant

    def forward(self, images):
        maps = torch.nn.functional.avg_pool2d(images, 8)
        return torch.ones_like(maps) if self.constant else maps


def evaluate(root, constant=False, **options):
    options = {**dict(rules='dinov3', keep_first=False, context_frames=1), **options}
    model = MODELS.build(dict(type='MaskPropagation', backbone=dict(type='PartColours', constant=constant), **options))
    metric, dataset = VIPMetric(), VIP(str(root), short_side=None, long_side_step=8)
    for item in dataset:
        batch = list_samples([item])
        metric.process(batch, model.test_step(batch))
    return metric.evaluate(len(dataset))


def test_perfect_features_are_right_everywhere(tmp_path):
    write_vip(tmp_path)
    metrics = evaluate(tmp_path, radius=2, top_k=1)
    assert metrics['mIoU'] == metrics['accuracy'] == 100


def test_constant_features_are_the_majority(tmp_path):
    """But for the first frame, which is as it was given."""
    masks = write_vip(tmp_path)
    metrics = evaluate(tmp_path, constant=True, radius=None, rules='crw', keep_first=True)
    truth = np.concatenate([mask.ravel() for mask in masks.values()])
    predicted = np.concatenate([np.concatenate([mask[:1], 0 * mask[1:]]).ravel() for mask in masks.values()])
    assert metrics['mIoU'] == pytest.approx(100 * jaccard_score(truth, predicted, average='macro'))
    assert metrics['accuracy'] == pytest.approx(100 * np.mean(truth == predicted))


@pytest.mark.parametrize('mask, match', [
    (np.full((48, 128), 20, np.uint8), "00001.png' has the id 20, but there are 20 classes"),
    (np.zeros((10, 10), np.uint8), '1 of its 4 masks have another size, first '),
], ids=['id', 'size'])
def test_true_masks_that_cannot_be_used_are_named(tmp_path, mask, match):
    write_vip(tmp_path)
    save_mask(mask, tmp_path / 'Annotations/Category_ids/videos0/00001.png')
    with pytest.raises(InputError, match=match):
        evaluate(tmp_path)


def test_from_the_command_line(tiny_weights, tmp_path):
    write_vip(tmp_path / 'vip')
    assert main([str(CONFIGS / 'vip_cropmae.py'), str(tiny_weights), '--data', str(tmp_path / 'vip'), '--work-dir', str(tmp_path / 'work'),
                 '--cfg-options', 'test_dataloader.num_workers=0', 'test_dataloader.dataset.long_side=96',
                 'test_dataloader.dataset.long_side_step=8']) == 0
    record, = read_records(tmp_path / 'work/results.jsonl')
    assert (record['task'], record['dataset_name'], record['framework']) == ('part-propagation', 'vip', 'cropmae')
    assert 0 < record['metrics']['mIoU'] < 100
