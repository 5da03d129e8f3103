"""A network of timm under the necks and heads of mmdet and mmseg."""
from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData, PixelData

from mmdssl.registry import MODELS

RESNET = dict(type='mmdssl.TimmBackbone', name='resnet18', model_args=dict(layers=(1, 1, 1, 1), channels=(8, 16, 24, 32)),
              out_indices=(1, 2, 3, 4))
SWIN = dict(type='mmdssl.TimmBackbone', name='swin_tiny_patch4_window7_224', out_indices=(0, 1, 2, 3),
            model_args=dict(embed_dim=12, depths=(1, 1, 1, 1), window_size=2))


def detection() -> tuple[Config, list]:
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    cfg = Config.fromstring("_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'", '.py')
    model = cfg.model
    model.neck.out_channels = model.rpn_head.in_channels = model.rpn_head.feat_channels = 16
    for part in ('bbox', 'mask'):
        model.roi_head[f'{part}_roi_extractor'].out_channels = model.roi_head[f'{part}_head'].in_channels = 16
        model.roi_head[f'{part}_head'].num_classes = 2
    model.roi_head.bbox_head.fc_out_channels = model.roi_head.mask_head.conv_out_channels = 16
    masks = np.zeros((2, 64, 64), np.uint8)
    masks[0, 8:40, 8:40] = masks[1, 20:60, 30:60] = 1
    sample = DetDataSample(metainfo=dict(img_shape=(64, 64), pad_shape=(64, 64), batch_input_shape=(64, 64)))
    boxes = torch.tensor([[8., 8, 40, 40], [30, 20, 60, 60]])
    sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.tensor([0, 1]), masks=BitmapMasks(masks, 64, 64))
    return cfg, [sample, sample]


def segmentation() -> tuple[Config, list]:
    from mmseg.structures import SegDataSample
    cfg = Config.fromstring("_base_ = 'mmseg::_base_/models/fpn_r50.py'", '.py')
    cfg.model.update(pretrained=None, data_preprocessor=dict(type='SegDataPreProcessor', size=(64, 64)))
    cfg.model.neck.out_channels = cfg.model.decode_head.channels = 16
    cfg.model.decode_head.update(in_channels=[16] * 4, num_classes=5, norm_cfg=dict(type='BN'), dropout_ratio=0)
    sample = SegDataSample(metainfo=dict(img_shape=(64, 64), pad_shape=(64, 64)))
    sample.gt_sem_seg = PixelData(data=torch.arange(5).repeat_interleave(13)[:64].expand(1, 64, 64).clone())
    return cfg, [sample, sample]


@pytest.mark.parametrize('task, scope, backbone', [(detection, 'mmdet', RESNET), (segmentation, 'mmseg', SWIN)],
                         ids=['mask-rcnn on resnet', 'semfpn on swin'])
def test_it_learns(task, scope, backbone):
    cfg, samples = task()
    cfg.model.backbone = backbone
    cfg.model.neck.in_channels = list(MODELS.build(backbone).channels)
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(cfg.model).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    inputs, totals = torch.rand(2, 3, 64, 64), []
    for _ in range(12):
        total, _ = model.parse_losses(model(inputs, samples, mode='loss'))
        optimizer.zero_grad()
        total.backward()
        assert not [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
        optimizer.step()
        totals.append(total.item())
    assert max(totals[-3:]) < 0.8 * totals[0]
