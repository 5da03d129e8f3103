"""Every config of detection, segmentation and video: nothing in it is unknown, and its network learns from a sample."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData, PixelData
from torch import nn

import mmdssl  # noqa: F401  registers everything
from mmdssl.engine.config_check import check_config
from mmdssl.engine.optim_constructor import OptimWrapperConstructor
from mmdssl.engine.own_weights import use_weights
from mmdssl.errors import InputError

ROOT = Path(__file__).parents[2] / 'configs'
TASKS = ('detection', 'segmentation', 'video')
TASK_NAMES = ('detection', 'segmentation', 'linear-ibot', 'video-segmentation', 'pose-propagation', 'part-propagation', 'video-masks')
CONFIGS = sorted(path for task in TASKS for path in (ROOT / task).glob('*.py'))
TINY = dict(type='mmdssl.VisionTransformer', arch=dict(embed_dim=24, depth=12, num_heads=2))


def names(paths: list[Path]) -> list[str]:
    return [f'{path.parent.name}/{path.stem}' for path in paths]


@pytest.mark.parametrize('path', CONFIGS, ids=names(CONFIGS))
def test_nothing_in_it_is_unknown(path, monkeypatch):
    """But for the data, which is not here."""
    monkeypatch.setattr('mmdssl.engine.config_check._check_data', lambda node, path: None)
    cfg = Config.fromfile(path)
    check_config(cfg)
    record = cfg.default_hooks.record
    assert record.task in TASK_NAMES and record.dataset


def detection_batch(size: int = 64) -> dict:
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    samples = []
    for _ in range(2):
        masks = np.zeros((2, size, size), np.uint8)
        masks[0, 8:40, 8:40] = masks[1, 20:60, 30:60] = 1
        boxes = torch.tensor([[8., 8, 40, 40], [30, 20, 60, 60]])
        sample = DetDataSample(metainfo=dict(img_shape=(size, size), pad_shape=(size, size), batch_input_shape=(size, size)))
        sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.tensor([0, 1]), masks=BitmapMasks(masks, size, size))
        samples.append(sample)
    return dict(inputs=torch.rand(2, 3, size, size), data_samples=samples)


def segmentation_batch(size: int = 64) -> dict:
    from mmseg.structures import SegDataSample
    samples = []
    for _ in range(2):
        sample = SegDataSample(metainfo=dict(img_shape=(size, size), pad_shape=(size, size)))
        sample.gt_sem_seg = PixelData(data=torch.randint(0, 5, (1, size, size)))
        samples.append(sample)
    return dict(inputs=torch.rand(2, 3, size, size), data_samples=samples)


TRAINED = [path for path in CONFIGS if path.parent.name != 'video']


@pytest.mark.parametrize('path', TRAINED, ids=names(TRAINED))
def test_every_parameter_learns(path, monkeypatch):
    """What gets no gradient would stop a distributed run. The backbone shrinks; necks and heads are the config's."""
    cfg = Config.fromfile(path)
    if 'arch' in cfg.model.backbone:
        patches = cfg.model.backbone.get('patch_size', 16)
        monkeypatch.setattr('mmdssl.engine.own_weights.backbone_config', lambda *args: dict(TINY, patch_size=patches))
        use_weights(cfg, 'tiny', load=False)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model).train()
    batch = detection_batch() if cfg.default_scope == 'mmdet' else segmentation_batch()
    total, _ = model.parse_losses(model(**batch, mode='loss'))
    total.backward()
    assert torch.isfinite(total)
    # the deepest levels of the pyramid have no anchor that fits so small an image
    without = {name for name, p in model.named_parameters() if p.requires_grad and p.grad is None}
    assert not without


class Classifier(nn.Module):

    def __init__(self, backbone: dict):
        super().__init__()
        self.backbone = MODELS.build(backbone)
        self.head = nn.Linear(384, 1000)


@pytest.mark.parametrize('task', ['detection/mask-rcnn_vit-small_1x_coco', 'segmentation/upernet_vit-small_160k_ade20k',
                                  'classification'])
def test_layer_decay_of_vit_small(task):
    """The table of (parameter, id, scale, weight decay): BEiT's r^(L + 1 - id), by hand for r = 0.75 (0.9 for UperNet)."""
    if task == 'classification':
        cfg = Config(dict(optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
                                             paramwise_cfg=dict(layer_decay=0.75, decay_embeddings=False))))
        model = Classifier(dict(type='mmdssl.VisionTransformer', arch='small'))
    else:
        cfg = Config.fromfile(ROOT / f'{task}.py')
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            model = MODELS.build(cfg.model)
    wrapper = cfg.optim_wrapper
    paramwise = wrapper.pop('paramwise_cfg')
    wrapper.pop('constructor', None)
    constructor = OptimWrapperConstructor(wrapper, paramwise)
    table = {rule.name: rule[1:] for rule in constructor.rules(model)}
    r = paramwise.layer_decay
    if r == 0.75:  # the figures of the specification, to their last digit
        for name, scale in (('patch_embed.proj.weight', .0238), ('blocks.0.mlp.fc1.weight', .0317), ('blocks.11.attn.qkv.weight', .75)):
            assert table[f'backbone.{name}'][1] == pytest.approx(scale, abs=5e-5)
    for name, layer, decays in [('cls_token', 0, False), ('pos_embed', 0, False), ('patch_embed.proj.weight', 0, True),
                                ('patch_embed.proj.bias', 0, False), ('blocks.0.norm1.weight', 1, False),
                                ('blocks.4.attn.qkv.weight', 5, True), ('blocks.4.attn.qkv.bias', 5, False),
                                ('blocks.11.mlp.fc2.weight', 12, True)]:
        assert table[f'backbone.{name}'] == (layer, pytest.approx(r**(13 - layer)), decays), name
    outside = {name: row for name, row in table.items() if not name.startswith(('backbone.blocks', 'backbone.patch_embed')) and
               name.split('.')[-1] not in ('cls_token', 'pos_embed')}
    assert {row[:2] for row in outside.values()} == {(13, 1.0)}
    assert {row[2] for name, row in outside.items() if name.endswith('.bias')} == {False}
    assert set(table) == {name for name, p in model.named_parameters() if p.requires_grad}

    groups = constructor(model).optimizer.param_groups
    assert len(groups) == 2 * 14, 'each layer has a group that decays and one that does not'
    assert sum(len(group['params']) for group in groups) == len(table)
    assert max(group['lr'] for group in groups) == wrapper.optimizer.lr


def test_recipe_a_decays_biases_and_has_one_rate():
    cfg = Config.fromfile(ROOT / 'detection/mask-rcnn_vit-small_selfpatch_1x_coco.py')
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model)
    rules = {rule.name: rule for rule in OptimWrapperConstructor(cfg.optim_wrapper, cfg.optim_wrapper.paramwise_cfg).rules(model)}
    assert {rule.lr_scale for rule in rules.values()} == {1.0}
    assert rules['backbone.blocks.0.attn.qkv.bias'].decays and rules['roi_head.bbox_head.fc_cls.bias'].decays
    assert not any(rules[f'backbone.{name}'].decays for name in ('pos_embed', 'cls_token', 'blocks.0.norm1.bias', 'pyramid.0.1.weight'))


def test_a_checkpoint_of_another_size_or_kind(monkeypatch):
    """Taps stay at their relative depth, widths follow, what the task decides stays."""
    found = dict(type='mmdssl.VisionTransformer', arch=dict(embed_dim=1024, depth=24, num_heads=16), position='sincos')
    monkeypatch.setattr('mmdssl.engine.own_weights.backbone_config', lambda *args: found)
    cfg = Config.fromfile(ROOT / 'segmentation/upernet_vit-small_160k_ade20k.py')
    use_weights(cfg, 'large.pth')
    backbone = cfg.model.backbone
    assert backbone.out_indices == [7, 11, 15, 23] and backbone.pyramid and backbone.drop_path_rate == 0.1
    assert backbone.position == 'sincos' and backbone.init_cfg.checkpoint == 'large.pth'
    assert cfg.model.decode_head.in_channels == [1024] * 4 and cfg.model.auxiliary_head.in_channels == 1024
    cfg = Config.fromfile(ROOT / 'segmentation/linear_vit-small_160k_ade20k.py')
    use_weights(cfg, 'large.pth')
    assert cfg.model.decode_head.channels == 4096
    with pytest.raises(InputError, match='use a config for that kind of network'):
        use_weights(Config.fromfile(ROOT / 'detection/mask-rcnn_resnet50-fpn_1x_coco.py'), 'large.pth')
