"""Every pretraining config: nothing in it is unknown, and its views fit its algorithm."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

import mmdssl  # noqa: F401  registers everything
from mmdssl.datasets import Views
from mmdssl.engine.config_check import check_config
from mmdssl.registry import DATASETS, MODELS

ROOT = Path(__file__).parents[2] / 'configs'
CONFIGS = sorted(path for folder in ('pretrain', 'small') for path in (ROOT / folder).glob('*.py'))


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('images')
    (root / 'a').mkdir()
    for i in range(2):
        noise = np.random.default_rng(i).integers(0, 256, (120, 160, 3), dtype=np.uint8)
        Image.fromarray(noise).save(root / 'a' / f'{i}.png')
    return root


@pytest.mark.parametrize('path', CONFIGS, ids=[f'{path.parent.name}/{path.stem}' for path in CONFIGS])
def test_config_is_read_and_its_views_fit(path, folder):
    cfg = Config.fromfile(path)
    for dataset in (cfg.train_dataloader.dataset, cfg.val_dataloader.dataset, cfg.val_cfg.bank.dataset):
        dataset.data_root = str(folder)
    check_config(cfg)
    # The config's own views, masks and queries; only the widths shrink.
    cfg.model.backbone.arch = dict(embed_dim=24, depth=1, num_heads=2)
    cfg.model.head.update(num_prototypes=16, hidden_dim=8, bottleneck_dim=8)
    algorithm = MODELS.build(cfg.model)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    views = Views.collate([dataset[i] for i in range(2)])
    losses = algorithm(**algorithm.data_preprocessor(views, True))
    total, _ = algorithm.parse_losses(losses)
    total.backward()
    assert torch.isfinite(total)
    assert all(p.grad is not None for p in algorithm.parameters() if p.requires_grad)


def test_recipes_are_the_papers():
    """The numbers that tell the methods' recipes apart (DINO and iBOT releases; ADCLR, App. B; PQCL, Sec. 4)."""
    dino, ibot, adclr, pqcl = (Config.fromfile(ROOT / f'pretrain/{name}.py') for name in ('dino', 'ibot', 'adclr', 'pqcl'))
    assert [cfg.model.head.num_prototypes for cfg in (dino, ibot, adclr, pqcl)] == [65536, 8192, 65536, 8192]
    assert [cfg.optim_wrapper.optimizer.lr for cfg in (dino, ibot, adclr, pqcl)] == [5e-4] * 4
    assert adclr.model.query_weight == 0.5 and pqcl.model.query_weight == 1.0
    views = adclr.train_dataloader.dataset.views
    assert (views.query.num, views.query.size, tuple(views.query.scale)) == (10, 16, (0.05, 0.15))
    views = pqcl.train_dataloader.dataset.views
    assert (views.query.num, views.query.size, tuple(views.query.scale)) == (1, 96, (0.05, 0.25))
    assert views['local'] is None and views.global_.mask.ratio == 0.3
    assert pqcl.model.backbone.position == 'sincos' and dino.model.backbone.get('position', 'learnable') == 'learnable'
