from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from math import ceil

import mmcv
import numpy as np
import pytest
import torch
from mmcv.ops import DeformConv2d, RoIAlign, batched_nms, nms, roi_align
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.hub import get_config
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from mmengine.utils.dl_utils import mmcv_full_available
from torch import Tensor

from mmdssl.compat import mmcv_ops
from mmdssl.errors import InputError

pytestmark = pytest.mark.skipif(find_spec('mmcv._ext').origin != mmcv_ops.__file__, reason='mmcv has compiled ops')

# image, x1, y1, x2, y2 at twice the feature map's size: inside, over the border, tiny, empty, outside
ROIS = torch.tensor([[0, 2.3, 1.1, 14.2, 9.7], [1, -6, -3, 8.5, 30], [1, 5, 6, 5.4, 6.3], [0, 9, 4, 9, 12],
                     [0, 60, 60, 70, 75]])


def roi_align_by_sampling(images: Tensor, rois: Tensor, size: int, scale: float, ratio: int, aligned: bool) -> Tensor:
    """Means of bilinear samples, where a sample more than a pixel outside the image is 0."""

    def weights(position: float, length: int) -> Tensor:
        if not -1 <= position <= length:
            return torch.zeros(length).to(images)
        return (1 - (torch.arange(length).to(images) - min(max(position, 0), length - 1)).abs()).clamp(min=0)

    def samples(start: float, end: float, length: int) -> Tensor:
        """(size, n, length): how much of each pixel is in each of the n samples of each bin."""
        side = (end - start if aligned else max(end - start, 1)) / size
        number = ratio or ceil(side)
        places = [[start + side * (i + (j + .5) / number) for j in range(number)] for i in range(size)]
        return torch.stack([torch.stack([weights(p, length) for p in row]) for row in places]) if number else None

    pooled = []
    for index, *corners in rois.tolist():
        x1, y1, x2, y2 = (corner * scale - .5 * aligned for corner in corners)
        image = images[int(index)]
        rows, columns = samples(y1, y2, image.shape[1]), samples(x1, x2, image.shape[2])
        if rows is None or columns is None:
            pooled.append(image.new_zeros(len(image), size, size))
        else:
            pooled.append(torch.einsum('imy,jnx,cyx->cij', rows, columns, image) / (rows.shape[1] * columns.shape[1]))
    return torch.stack(pooled)


def nms_by_loop(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> list[int]:
    kept = []
    for i in np.argsort(-scores, kind='stable'):
        def overlap(j):
            sides = np.minimum(boxes[i, 2:], boxes[j, 2:]) - np.maximum(boxes[i, :2], boxes[j, :2])
            both = np.prod(sides.clip(0))
            return both / (np.prod(boxes[i, 2:] - boxes[i, :2]) + np.prod(boxes[j, 2:] - boxes[j, :2]) - both)
        if all(overlap(j) <= threshold for j in kept):
            kept.append(int(i))
    return kept


def random_boxes(number: int) -> tuple[Tensor, Tensor]:
    corners = torch.rand(number, 2) * 50
    return torch.cat([corners, corners + 5 + torch.rand(number, 2) * 30], 1), torch.rand(number)


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 2])
@pytest.mark.parametrize('dtype, tolerance', [(torch.float32, 1e-5), (torch.float64, 1e-12), (torch.bfloat16, 2 ** -8)])
def test_roi_align_pools_bilinear_samples(aligned, ratio, dtype, tolerance):
    images = torch.randn(2, 3, 7, 9).to(dtype)
    rois, weights = ROIS.to(dtype), torch.randn(len(ROIS), 3, 4, 4).to(dtype)
    exact = images.to(torch.float64, copy=True).requires_grad_()
    expected = roi_align_by_sampling(exact, rois, 4, 0.5, ratio, aligned)
    expected.backward(weights.double())

    images.requires_grad_()
    with torch.autocast('cpu', torch.bfloat16, enabled=dtype == torch.bfloat16):
        pooled = roi_align(images, rois, (4, 4), 0.5, ratio, 'avg', aligned)
    pooled.backward(weights)
    assert pooled.dtype == images.grad.dtype == dtype
    torch.testing.assert_close(pooled.double(), expected, rtol=tolerance, atol=tolerance / 10)
    torch.testing.assert_close(images.grad.double(), exact.grad, rtol=tolerance, atol=tolerance)


def test_autocast_leaves_fp32_pooling_exact():
    images = torch.randn(2, 3, 7, 9, requires_grad=True)
    pooled = roi_align(images, ROIS, 4, 0.5)
    with torch.autocast('cpu', torch.bfloat16):
        under_autocast = roi_align(images, ROIS, 4, 0.5)
    assert torch.equal(pooled, under_autocast)
    grads = [torch.autograd.grad(result.sum(), images)[0] for result in (pooled, under_autocast)]
    assert torch.equal(*grads)


def test_no_regions_give_nothing_to_pool_and_zero_gradients():
    images = torch.randn(1, 3, 7, 9, requires_grad=True)
    pooled = RoIAlign(4)(images, torch.empty(0, 5))
    pooled.sum().backward()
    assert pooled.shape == (0, 3, 4, 4)
    assert not images.grad.any()


@pytest.mark.parametrize('threshold', [0.1, 0.4])
def test_nms_keeps_the_best_box_of_each_pile(threshold):
    boxes, scores = random_boxes(60)
    detections, kept = nms(boxes, scores, threshold)
    expected = nms_by_loop(boxes.numpy(), scores.numpy(), threshold)
    assert 1 < len(expected) < 60
    assert kept.tolist() == expected
    assert torch.equal(detections, torch.cat([boxes, scores[:, None]], 1)[expected])


@pytest.mark.parametrize('autocast', [False, True])
def test_batched_nms_keeps_classes_apart(autocast):
    boxes, scores = random_boxes(60)
    labels = torch.arange(60) % 3
    if autocast:
        scores = scores.bfloat16()  # as a sigmoid under autocast gives them, while boxes are decoded in fp32
    with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        detections, kept = batched_nms(boxes, scores, labels, dict(type='nms', iou_threshold=0.4))
    each = [label + 3 * i for label in range(3)
            for i in nms_by_loop(boxes[label::3].numpy(), scores[label::3].float().numpy(), 0.4)]
    assert sorted(kept.tolist()) == sorted(each)
    assert detections[:, 4].tolist() == sorted(scores[each].tolist(), reverse=True)


def test_nms_of_nothing():
    detections, kept = nms(torch.empty(0, 4), torch.empty(0), 0.5)
    assert detections.shape == (0, 5) and kept.shape == (0, )


def test_what_torchvision_cannot_do_is_refused():
    boxes, scores = random_boxes(3)
    with pytest.raises(InputError, match='NMS with offset=1 .*set offset=0, or build mmcv'):
        nms(boxes, scores, 0.5, offset=1)
    with pytest.raises(InputError, match="pool_mode='max' .*set pool_mode='avg', or build mmcv"):
        RoIAlign(4, pool_mode='max')(torch.randn(1, 3, 7, 9), ROIS[:1])


def test_another_op_is_named_when_it_is_used():
    layer = DeformConv2d(2, 2, 3)
    with pytest.raises(InputError, match="'deform_conv_forward' needs a compiled mmcv: build mmcv with its ops"):
        layer(torch.randn(1, 2, 8, 8), torch.zeros(1, 18, 6, 6))


def test_mmengine_sees_an_mmcv_with_ops():
    assert mmcv_full_available()


def test_a_compiled_extension_is_left_alone(tmp_path, monkeypatch):
    (tmp_path / '_ext.py').touch()
    monkeypatch.delitem(sys.modules, 'mmcv._ext')
    monkeypatch.setattr(mmcv, '__path__', [*mmcv.__path__, str(tmp_path)])
    assert find_spec('mmcv._ext').origin == str(tmp_path / '_ext.py')


def test_importing_mmdssl_is_enough_and_imports_no_detector():
    lines = ('import sys, mmdssl', "assert not {'mmcv.ops', 'mmdet', 'mmseg'} & set(sys.modules)",
             'import mmdet.models, mmseg.models')
    subprocess.run([sys.executable, '-W', 'ignore', '-c', '\n'.join(lines)], check=True)


@pytest.mark.parametrize('config', ['mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
                                    'mask_rcnn/mask-rcnn_r50-caffe-c4_1x_coco.py',
                                    'cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py'])
def test_detectors_of_mmdet_train_and_predict(config):
    cfg = get_config(f'mmdet::{config}').model
    cfg.backbone.init_cfg = None
    with DefaultScope.overwrite_default_scope('mmdet'):
        detector = MODELS.build(cfg)
    sample = DetDataSample(metainfo=dict(img_shape=(64, 64), ori_shape=(64, 64), pad_shape=(64, 64),
                                         batch_input_shape=(64, 64), scale_factor=(1., 1.)))
    masks = np.zeros((1, 64, 64), np.uint8)
    masks[:, 10:50, 8:40] = 1
    sample.gt_instances = InstanceData(bboxes=torch.tensor([[8., 10, 40, 50]]), labels=torch.tensor([3]),
                                       masks=BitmapMasks(masks, 64, 64))
    images = torch.randn(1, 3, 64, 64)
    detector.train()
    losses = detector.loss(images, [sample])
    loss, _ = detector.parse_losses(losses)
    loss.backward()
    assert loss.isfinite()
    assert next(p for p in detector.backbone.layer3.parameters()).grad.any()
    detector.eval()
    with torch.no_grad():
        found, = detector.predict(images, [sample])
    assert found.pred_instances.masks.shape == (len(found.pred_instances.bboxes), 64, 64)
