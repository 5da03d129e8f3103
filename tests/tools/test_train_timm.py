"""``tools/train.py`` on networks of timm: what a run leaves, and that compiling them changes nothing."""
from __future__ import annotations

import json
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch._dynamo.utils import counters

from mmdssl.checkpoint import load_backbone

RUNS = count()
ROOT = Path(__file__).parents[2]
CONFIG = """
_base_ = '{base}'
train_dataloader = dict(batch_size=6, num_workers=0, dataset=dict(data_root='images'))
val_dataloader = dict(batch_size=12, num_workers=0, dataset=dict(data_root='images'))
val_cfg = dict(bank=dict(batch_size=12, num_workers=0, dataset=dict(data_root='images')))
param_scheduler = []
train_cfg = dict(max_epochs=1, val_interval=1, val_before_train=False)
optim_wrapper = dict(optimizer=dict(lr=0.02))
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(save_best='knn10_top1'))
val_evaluator = dict(k=10)
visualizer = dict(vis_backends=[])
"""


@pytest.fixture(scope='module')
def tool(load_tool):
    return load_tool('train')


@pytest.fixture
def train(tool, tmp_path, monkeypatch):
    """Function that trains a config of ``configs/small`` for two steps on twelve images and returns its work directory."""
    monkeypatch.chdir(tmp_path)
    for name in 'ab':
        (tmp_path / 'images' / name).mkdir(parents=True)
        for i in range(6):
            pixels = np.random.default_rng([i, ord(name)]).integers(0, 255, (5, 6, 3), np.uint8)
            Image.fromarray(pixels).resize((60, 50)).save(tmp_path / 'images' / name / f'{i}.png')

    def run(config: str, *lines: str) -> Path:
        name = f'run{next(RUNS)}'
        text = [CONFIG.format(base=ROOT / f'configs/small/{config}.py'), f"experiment_name = '{name}'", *lines]
        (tmp_path / f'{name}.py').write_text('\n'.join(text))
        assert tool.main([f'{name}.py']) == 0
        return tmp_path / 'work_dirs' / name
    return run


@pytest.mark.parametrize('config, backbone', [('dino_resnet', 'resnet18-custom'), ('bam_caformer', 'caformer-custom')])
def test_what_a_run_leaves(config, backbone, train):
    work_dir = train(config)
    record = json.loads((work_dir / 'results.jsonl').read_text())
    assert record['backbone'] == backbone and 'knn10_top1' in record['metrics']
    exported, trained = (load_backbone(work_dir / file) for file in ('backbone.safetensors', 'epoch_1.pth'))
    images = torch.randn(2, 3, 48, 48)
    assert torch.equal(exported.features(images), trained.features(images))


def test_a_compiled_network_trains_alike(train):
    losses = []
    no_validation = 'val_dataloader = val_cfg = val_evaluator = None', 'default_hooks.update(checkpoint=dict(save_best=None))'
    for line in ('', "compile = dict(backend='eager')"):
        torch._dynamo.reset()
        counters.clear()
        work_dir = train('dino_resnet', *no_validation, line)
        assert bool(counters['stats']['unique_graphs']) == bool(line)
        checkpoint = torch.load(work_dir / 'epoch_1.pth', weights_only=False)
        losses.append(list(checkpoint['message_hub']['log_scalars']['train/loss'].data[0]))
    assert len(losses[0]) == 2 and losses[1] == pytest.approx(losses[0], rel=1e-4)
