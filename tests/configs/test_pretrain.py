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
SIZES = dict(num_prototypes=16, hidden_dim=8, bottleneck_dim=8, out_dim=8, queue_size=16,
             num_codes=16, width=16, embed_dim=24, depth=1, num_heads=2)  # the last line: decoders and tokenizers


def shrink(node) -> None:
    for key, value in node.items():
        if isinstance(value, dict):
            shrink(value)
        elif key in SIZES:
            node[key] = SIZES[key]


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('images')
    (root / 'a').mkdir()
    for i in range(2):
        noise = np.random.default_rng(i).integers(0, 256, (120, 160, 3), dtype=np.uint8)
        Image.fromarray(noise).save(root / 'a' / f'{i}.png')
        masks = root.with_name(f'{root.name}_saliency') / 'a'
        masks.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise[..., 0]).save(masks / f'{i}.png.png')
    root.with_suffix('.json').write_text('{"images": [{"file_name": "a/0.png"}, {"file_name": "a/1.png"}]}')
    return root


@pytest.mark.parametrize('path', CONFIGS, ids=[f'{path.parent.name}/{path.stem}' for path in CONFIGS])
def test_config_is_read_and_its_views_fit(path, folder):
    cfg = Config.fromfile(path)
    labelled = [cfg.val_dataloader.dataset, cfg.val_cfg.bank.dataset] if cfg.val_cfg else []
    for dataset in (cfg.train_dataloader.dataset, *labelled):
        dataset.data_root = str(folder)
    if cfg.train_dataloader.dataset.type == 'CocoImages':
        cfg.train_dataloader.dataset.update(data_root=str(folder.parent), ann_file=f'{folder.name}.json',
                                            data_prefix=dict(img=folder.name))
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


def config(name: str) -> Config:
    return Config.fromfile(ROOT / f'pretrain/{name}.py')


def warmup(cfg: Config) -> int:
    first, second = cfg.param_scheduler[:2]
    assert (first.type, second.type) == ('LinearLR', 'CosineAnnealingLR') and first.end == second.begin
    return first.end


def test_recipe_of_mocov2_is_the_papers():
    cfg = config('mocov2')
    assert cfg.optim_wrapper.optimizer == dict(type='SGD', lr=0.03, momentum=0.9, weight_decay=1e-4)
    assert cfg.optim_wrapper.paramwise_cfg == dict(decay_biases=True, decay_norms=True)
    assert [(s.type, s.get('convert_to_iter_based', False)) for s in cfg.param_scheduler] == [('CosineAnnealingLR', False)]
    assert (cfg.train_cfg.max_epochs, cfg.auto_scale_lr.base_batch_size) == (200, 256)
    assert (cfg.model.queue_size, cfg.model.temperature, cfg.model.momentum) == (65536, 0.2, 0.999)
    assert cfg.model.projector == dict(hidden_dim=2048, out_dim=128, num_layers=2)
    views = cfg.train_dataloader.dataset.views
    assert views['local'] is None and (views.global_.num, tuple(views.global_.scale)) == (2, (0.2, 1.0))
    assert views.global_.photometric == dict(jitter=(0.4, 0.4, 0.4, 0.1), blur_prob=0.5)
    assert 'sync_bn' not in cfg  # batches are shuffled instead


def test_recipes_of_mocov3_are_the_papers():
    vit, resnet = config('mocov3'), config('mocov3_resnet50')
    backbone = vit.model.backbone
    assert backbone.arch == dict(embed_dim=384, depth=12, num_heads=12)
    assert (backbone.position, backbone.init, backbone.frozen_patch_embed) == ('sincos', 'mocov3', True)
    optimizer = vit.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('AdamW', 1.5e-4, 0.1)
    assert vit.optim_wrapper.paramwise_cfg == dict(decay_biases=True, decay_norms=True) and vit.optim_wrapper.clip_per_tensor is None
    assert resnet.optim_wrapper.optimizer == dict(type='LARS', lr=0.3, momentum=0.9, weight_decay=1e-6, eta=0.001)
    assert [warmup(cfg) for cfg in (vit, resnet)] == [40, 10]
    assert [len(cfg.param_scheduler) for cfg in (vit, resnet)] == [2, 2]  # weight decay is constant
    assert [cfg.model.temperature for cfg in (vit, resnet)] == [0.2, 1.0]
    assert [(cfg.model.projector.num_layers, cfg.model.predictor.get('last_norm', 'plain')) for cfg in (vit, resnet)] == [
        (3, 'plain'), (2, None)]
    for cfg, scale in ((vit, 0.08), (resnet, 0.2)):
        assert (cfg.model.projector.hidden_dim, cfg.model.projector.out_dim, cfg.model.projector.bias) == (4096, 256, False)
        assert (cfg.model.momentum, cfg.auto_scale_lr.base_batch_size, cfg.train_cfg.max_epochs) == (0.99, 256, 300)
        assert tuple(cfg.train_dataloader.dataset.views.global_.scale) == (scale, 1.0)
        assert cfg.train_dataloader.dataset.views.global_.photometric == [
            dict(blur_prob=1.0), dict(blur_prob=0.1, solarize_prob=0.2)]
        assert cfg.param_scheduler[1].eta_min == 0 and cfg.sync_bn == 'torch'


def test_recipes_with_lars_are_the_papers():
    simclr, byol, barlow = (config(name) for name in ('simclr', 'byol', 'barlowtwins'))
    assert [(cfg.optim_wrapper.optimizer.lr, cfg.optim_wrapper.optimizer.weight_decay) for cfg in (simclr, byol, barlow)] == [
        (0.3, 1e-6), (0.2, 1.5e-6), (0.2, 1e-6)]
    for cfg in (simclr, byol, barlow):
        assert cfg.optim_wrapper.optimizer.type == 'LARS' and cfg.auto_scale_lr.base_batch_size == 256
        assert warmup(cfg) == 10 and cfg.train_cfg.max_epochs == 1000 and cfg.sync_bn == 'torch'
        assert tuple(cfg.train_dataloader.dataset.views.global_.scale) == (0.08, 1.0)
    assert simclr.train_dataloader.dataset.views.global_.photometric == dict(jitter=(0.8, 0.8, 0.8, 0.2), blur_prob=0.5)
    assert simclr.model.temperature == 0.1 and byol.model.momentum == 0.996
    assert barlow.model.off_diagonal_weight == 0.0051 and barlow.param_scheduler[1].eta_min_ratio == 1e-3
    assert barlow.optim_wrapper.paramwise_cfg.bias_lr_mult * 0.2 == pytest.approx(0.0048)
    assert (barlow.model.projector.num_layers, barlow.model.projector.out_dim) == (3, 8192)


def test_recipe_of_swav_is_the_papers():
    cfg = config('swav')
    assert cfg.optim_wrapper.optimizer == dict(type='LARC', lr=4.8, momentum=0.9, weight_decay=1e-6, eta=0.001)
    assert cfg.optim_wrapper.paramwise_cfg == dict(decay_biases=True, decay_norms=True)
    assert cfg.auto_scale_lr.base_batch_size == 4096 and cfg.train_cfg.max_epochs == 800 and warmup(cfg) == 10
    start, cosine = cfg.param_scheduler
    assert start.start_factor * 4.8 == pytest.approx(0.3) and cosine.eta_min_ratio * 4.8 == pytest.approx(0.0048)
    assert (cfg.model.num_prototypes, cfg.model.epsilon, cfg.model.iterations, cfg.model.temperature) == (3000, 0.05, 3, 0.1)
    assert (cfg.model.queue_size, cfg.model.freeze_prototypes) == (0, 313)
    views = cfg.train_dataloader.dataset.views
    assert (views.global_.num, tuple(views.global_.scale)) == (2, (0.14, 1.0))
    assert (views.local.num, views.local.size, tuple(views.local.scale)) == (6, 96, (0.05, 0.14))
    assert views.global_.photometric == views.local.photometric == dict(jitter=(0.8, 0.8, 0.8, 0.2), blur_prob=0.5)
    assert [round(std / 255, 3) for std in cfg.model.data_preprocessor.std] == [0.228, 0.224, 0.225]


def test_recipe_of_selfpatch_is_the_papers():
    cfg, dino = config('selfpatch'), config('dino')
    model = cfg.model
    assert (model.backbone.class_token, model.backbone.final_norm, model.backbone.arch) == (False, False, 'small')
    assert model.head == dict(cls=dict(num_prototypes=65536, norm_last_layer=True), patch=dict(num_prototypes=4096, norm_last_layer=True))
    assert (model.num_neighbours, model.num_blocks, model.patch_weight) == (4, 2, 0.1)
    assert model.teacher_temperature == (0.04, 0.04, 0) and model.student_temperature == 0.1
    views = cfg.train_dataloader.dataset.views
    assert (views.local.num, views.local.size, tuple(views.local.scale), tuple(views.global_.scale)) == (8, 96, (0.05, 0.25), (0.25, 1.0))
    assert cfg.train_dataloader.batch_size == 128 and cfg.train_cfg.max_epochs == 200
    assert cfg.optim_wrapper == dino.optim_wrapper and cfg.param_scheduler == dino.param_scheduler


def test_recipes_of_densecl_are_the_papers():
    imagenet, coco, mocov2 = config('densecl'), config('densecl_coco'), config('mocov2')
    for cfg in (imagenet, coco):
        model = cfg.model
        assert (model.dense_weight, model.dense_warmup, model.matching, model.grid) == (0.5, 0, 'backbone', None)
        assert {key: model[key] for key in mocov2.model} == dict(mocov2.model, type='DenseCL')
        assert cfg.train_dataloader.dataset.views == mocov2.train_dataloader.dataset.views
        assert cfg.param_scheduler == mocov2.param_scheduler and cfg.auto_scale_lr == mocov2.auto_scale_lr
    assert [(cfg.optim_wrapper.optimizer.lr, cfg.train_cfg.max_epochs) for cfg in (imagenet, coco)] == [(0.03, 200), (0.3, 800)]
    assert coco.train_dataloader.dataset.ann_file.endswith('train2017.json') and coco.val_cfg is None


def test_recipes_of_supcon_are_the_papers():
    """ImageNet's optimisation is SimCLR's; that of CIFAR-10 is the authors' command."""
    cfg, cifar = config('supcon'), config('supcon_cifar10')
    for recipe in (cfg, cifar):
        assert recipe.model.projector == dict(hidden_dim=2048, out_dim=128, num_layers=2)
        assert (recipe.model.temperature, recipe.model.base_temperature, recipe.model.inside) == (0.1, 0.07, False)
    assert cfg.optim_wrapper.optimizer == dict(type='LARS', lr=0.3, momentum=0.9, weight_decay=1e-6, eta=0.001)
    assert cifar.optim_wrapper.optimizer == dict(type='SGD', lr=0.5, momentum=0.9, weight_decay=1e-4)
    assert (cifar.auto_scale_lr.base_batch_size, cifar.train_dataloader.batch_size, cifar.train_cfg.max_epochs) == (1024, 1024, 1000)
    assert warmup(cifar) == warmup(cfg) == 10
    view = cifar.train_dataloader.dataset.views.global_
    assert (view.size, tuple(view.scale), view.photometric) == (32, (0.2, 1.0), dict(jitter=(0.4, 0.4, 0.4, 0.1), blur_prob=0.0))
    assert (cifar.model.backbone.stem_stride, cifar.model.backbone.stem_kernel) == (1, 3)


def test_recipes_of_looc_are_the_papers():
    cfg, plus, base = config('looc'), config('looc_plus'), config('mocov2')
    assert cfg.optim_wrapper == base.optim_wrapper and cfg.param_scheduler == base.param_scheduler
    assert (cfg.train_cfg.max_epochs, cfg.auto_scale_lr.base_batch_size, cfg.model.temperature) == (500, 256, 0.2)
    view = cfg.train_dataloader.dataset.views.global_
    assert list(view.families) == ['color', 'rotation', 'texture'] and cfg.model.num_families == 3
    color, _, texture = view.families.values()
    assert color.blur_prob == 0 and texture.jitter_prob == texture.gray_prob == 0
    assert plus.model.plus and plus.model.backbone.branches == 4 and plus.train_dataloader == cfg.train_dataloader


def test_recipe_of_dilo_is_the_papers():
    """MoCo v2's but for the backgrounds."""
    cfg, base = config('dilo'), config('mocov2')
    assert cfg.model == base.model and cfg.optim_wrapper == base.optim_wrapper and cfg.train_cfg == base.train_cfg
    view = cfg.train_dataloader.dataset.views.global_
    assert view.pop('before') == dict(type='SwapBackground', prob=0.3, kinds=('gray', ), blending='mix')
    assert view == base.train_dataloader.dataset.views.global_


SMALL = dict(batch=32, epochs=10, size=32)


@pytest.mark.parametrize('path', [path for path in CONFIGS if path.parent.name == 'small'], ids=lambda path: path.stem)
def test_small_configs_have_one_budget(path):
    """Networks of about the same cost, the same number of images, global views of one size."""
    cfg = Config.fromfile(path)
    views = cfg.train_dataloader.dataset.views
    masked = path.stem.startswith(('mae', 'maskfeat', 'beit'))  # of 16 patches too few would be left
    assert dict(batch=cfg.train_dataloader.batch_size, epochs=cfg.train_cfg.max_epochs, size=views.global_.size) == dict(
        SMALL, size=64 if masked else 32)
    assert views.get('local') is None
    if cfg.model.backbone.type == 'VisionTransformer':
        assert cfg.model.backbone.arch == dict(embed_dim=128, depth=4, num_heads=2) and cfg.model.backbone.patch_size == 8
