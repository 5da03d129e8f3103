"""The recipes of masked modelling are the papers'."""
from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

from mmdssl.datasets.transforms import BlockMask, RandomMask

ROOT = Path(__file__).parents[2] / 'configs'


def config(name: str) -> Config:
    cfg = Config.fromfile(ROOT / f'{name}.py')
    assert cfg.train_dataloader.dataset.views.get('local') is None
    assert (cfg.optim_wrapper.clip_per_tensor, len(cfg.param_scheduler)) == (None, 2)  # weight decay is constant
    assert cfg.param_scheduler[0].end == cfg.param_scheduler[1].begin
    return cfg


def optimisation(cfg: Config) -> tuple:
    optimizer = cfg.optim_wrapper.optimizer
    return (optimizer.type, optimizer.lr, cfg.auto_scale_lr.base_batch_size, tuple(optimizer.betas), optimizer.weight_decay,
            (cfg.optim_wrapper.get('clip_grad') or {}).get('max_norm'), cfg.param_scheduler[0].end, cfg.train_cfg.max_epochs)


def test_recipe_of_mae():
    """He et al., Table 8."""
    cfg = config('pretrain/mae')
    assert optimisation(cfg) == ('AdamW', 1.5e-4, 256, (0.9, 0.95), 0.05, None, 40, 800) and cfg.param_scheduler[1].eta_min == 0
    assert cfg.model.decoder == dict(embed_dim=512, depth=8, num_heads=16) and cfg.model.normalise_pixels
    assert (cfg.model.backbone.arch, cfg.model.backbone.position, cfg.model.backbone.init) == ('base', 'sincos', 'mae')
    view = dict(cfg.train_dataloader.dataset.views.global_)
    mask = dict(view.pop('mask'))
    assert view == dict(type='CropViews', size=224, scale=(0.2, 1.0))  # flips, and nothing photometric
    assert mask.pop('type') == 'RandomMask' and RandomMask(**mask)(224).sum() == 147


def test_recipe_of_maskfeat():
    """Wei et al., Table 9."""
    cfg = config('pretrain/maskfeat')
    assert optimisation(cfg) == ('AdamW', 1.6e-3, 2048, (0.9, 0.999), 0.05, 0.02, 30, 300)
    view = dict(cfg.train_dataloader.dataset.views.global_)
    mask = dict(view.pop('mask'))
    assert view == dict(type='CropViews', size=224, scale=(0.5, 1.0))
    assert mask.pop('type') == 'BlockMask'
    block = BlockMask(**mask)
    assert (block.target(mask['ratio'], 196), block.min_area) == (78, 15)
    assert cfg.model.cell == 8 and cfg.model.backbone.get('position', 'learnable') == 'learnable'


def test_recipe_of_beit():
    """Bao et al., Appendix."""
    cfg = config('pretrain/beit')
    assert optimisation(cfg) == ('AdamW', 1.5e-3, 2048, (0.9, 0.999), 0.05, 3.0, 10, 800)
    backbone = cfg.model.backbone
    assert (backbone.position, backbone.relative_position, backbone.layer_scale, backbone.drop_path_rate, backbone.init) == (
        'none', 'shared', 0.1, 0.1, 'beit')
    view = dict(cfg.train_dataloader.dataset.views.global_)
    mask = dict(view.pop('mask'))
    assert view == dict(type='CropViews', size=224, scale=(0.08, 1.0), photometric=dict(
        jitter=(0.4, 0.4, 0.4, 0.0), jitter_prob=1.0, gray_prob=0.0, blur_prob=0.0))
    assert mask.pop('type') == 'BlockMask' and BlockMask(**mask).target(mask['ratio'], 196) == 75
    assert cfg.model.tokenizer.num_codes == 8192


@pytest.mark.parametrize('beit, tokenizer', [('pretrain/beit', 'pretrain/beit_tokenizer'), ('small/beit_dvae', 'small/beit_tokenizer')])
def test_tokenizer_is_the_one_that_its_config_trains(beit, tokenizer):
    used, trained = config(beit).model.tokenizer, config(tokenizer).model
    assert {key: value for key, value in used.items() if key != 'init_cfg'} == trained.backbone
    assert used.init_cfg.checkpoint == f'work_dirs/{Path(tokenizer).name}/backbone.safetensors'
    assert trained.temperature == (1.0, 1 / 16)


def test_small_ones_have_one_backbone():
    sizes = [dict(config(f'small/{name}').model.backbone, mask_token=None, init=None) for name in ('mae', 'maskfeat', 'beit', 'beit_dvae')]
    for backbone in sizes:
        assert backbone['arch'] == dict(embed_dim=128, depth=4, num_heads=2) and backbone['patch_size'] == 8
        assert (backbone['position'], backbone['pool']) == ('sincos', 'mean') and not backbone.get('relative_position')
