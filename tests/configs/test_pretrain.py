"""Every pretraining config: nothing in it is unknown, and its views fit its algorithm."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from mmengine.config import Config
from PIL import Image

import mmdssl  # noqa: F401  registers everything
from mmdssl.datasets import Views
from mmdssl.engine.config_check import check_config
from mmdssl.registry import DATASETS, MODELS

ROOT = Path(__file__).parents[2] / 'configs'
CONFIGS = sorted(path for folder in ('pretrain', 'small') for path in (ROOT / folder).glob('*.py'))
THIN = dict(resnet50=dict(model_args=dict(layers=(1, 1, 1, 1), channels=(8, 8, 8, 8))),
            caformer_m36=dict(name='caformer', model_args=dict(depths=(1, 1, 1, 1), dims=(8, 8, 32, 32))))
# What a method's sizes shrink to.
SIZES = dict(num_prototypes=16, hidden_dim=8, bottleneck_dim=8, out_dim=8, queue_size=16)


def shrink(node) -> None:
    for key, value in node.items():
        if isinstance(value, dict):
            shrink(value)
        elif key in SIZES:
            node[key] = SIZES[key]


SIZES |= dict(num_codes=16, width=16, embed_dim=24, depth=1, num_heads=2)  # of decoders and tokenizers


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
    if cfg.model.backbone.type == 'VisionTransformer':
        cfg.model.backbone.arch = dict(embed_dim=24, depth=1, num_heads=2)
    elif path.parent.name == 'pretrain':
        cfg.model.backbone.update(THIN.get(cfg.model.backbone.get('name'), {}))
    shrink(cfg.model)
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


def test_recipe_of_bam_is_the_papers():
    """Sec. 4 of the paper; ResNet's differs in the optimizer."""
    cfg, no_teacher, scripts = (Config.fromfile(ROOT / f'pretrain/{name}.py') for name in ('bam', 'bam_no-teacher', 'bam_scripts'))
    backbone, attention = cfg.model.backbone, cfg.model.attention
    assert backbone.arch == dict(embed_dim=384, depth=12, num_heads=12)
    assert (backbone.position, backbone.init, backbone.frozen_patch_embed) == ('sincos', 'moco', True)
    assert (attention.source_temperature, cfg.model.target_temperature[:2]) == (0.1, (0.05, 0.05))
    assert (attention.iterations, attention.balanced_set, attention.top_k, cfg.model.momentum) == (3, 'all', 0, 0.995)
    assert cfg.optim_wrapper.optimizer.lr == 3e-3 and cfg.auto_scale_lr == dict(enable=True, base_batch_size=4096)
    assert cfg.optim_wrapper.clip_grad.max_norm == 0.3 and cfg.optim_wrapper.clip_per_tensor is None
    assert cfg.train_cfg.max_epochs == 300 and cfg.param_scheduler[0].end == cfg.param_scheduler[1].begin == 40
    views = cfg.train_dataloader.dataset.views
    assert (views.local.num, views.local.size) == (6, 96)
    recipes = [*views.global_.photometric, views.local.photometric]
    assert [recipe.jitter for recipe in recipes] == [(0.4, 0.4, 0.4, 0.1)] * 3
    assert not no_teacher.model.teacher and no_teacher.sync_bn == 'torch'
    final = scripts.optim_wrapper.optimizer.lr * scripts.param_scheduler[1].eta_min_ratio
    assert (scripts.optim_wrapper.optimizer.lr, final) == (4.8e-3, pytest.approx(1e-3)) and scripts.train_cfg.max_epochs == 400


def test_recipes_of_other_backbones_are_the_papers():
    """DINO's command for ResNet-50; BAM, Sec. 4: LARS without clipping for ResNet-50, the recipe of ViT for CAFormer."""
    dino, resnet, caformer, vit = (Config.fromfile(ROOT / f'pretrain/{name}.py')
                                   for name in ('dino_resnet50', 'bam_resnet50', 'bam_caformer-m36', 'bam'))
    assert dino.optim_wrapper.optimizer == dict(type='SGD', lr=0.03, momentum=0.9, weight_decay=1e-4)
    assert [scheduler.type for scheduler in dino.param_scheduler] == ['LinearLR', 'CosineAnnealingLR']  # weight decay is constant
    views = dino.train_dataloader.dataset.views
    assert (tuple(views.global_.scale), tuple(views.local.scale)) == ((0.14, 1.0), (0.05, 0.14))
    assert resnet.optim_wrapper.optimizer == dict(type='LARS', lr=0.3, momentum=0.9, weight_decay=1e-6, eta=0.001)
    assert resnet.auto_scale_lr.base_batch_size == 256 and not {'clip_grad', 'clip_per_tensor'} & set(resnet.optim_wrapper)
    assert resnet.model.projector.activation == 'relu' and caformer.model.projector.activation == 'gelu'
    assert resnet.train_cfg.max_epochs == 300 and resnet.param_scheduler[0].end == resnet.param_scheduler[1].begin == 10
    assert caformer.optim_wrapper == vit.optim_wrapper and caformer.param_scheduler == vit.param_scheduler
    assert all(cfg.train_dataloader == vit.train_dataloader for cfg in (resnet, caformer))
    assert all(cfg.sync_bn == 'torch' for cfg in (dino, resnet)) and all(
        timm.is_model(cfg.model.backbone.name) for cfg in (dino, resnet, caformer))
