"""A stand-in for ``mmcv._ext``, mmcv's compiled extension: NMS and RoIAlign by torchvision's kernels.

That is all that Mask R-CNN and Cascade Mask R-CNN need; segmentors need none. Signatures are those of mmcv's extension,
whose functions write to tensors that the caller made. Computed in fp32 at least: torchvision has no bf16 kernels.
"""
from __future__ import annotations

import torch
import torchvision
from torch import Tensor

from mmdssl.errors import InputError

REMEDY = ('build mmcv with its ops (git clone https://github.com/VBTI-development/onedl-mmcv; MMCV_WITH_OPS=1 pip '
          'install --no-build-isolation ./onedl-mmcv)')
AVERAGE = 1


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Indices of the boxes that are kept, highest score first.

    Raises:
        InputError: ``offset`` is not 0.
    """
    if offset:
        raise InputError(f'NMS with offset={offset} needs a compiled mmcv: set offset=0, or {REMEDY}')
    return torchvision.ops.nms(boxes.to(_wide(boxes)), scores.to(_wide(boxes)), iou_threshold)


def roi_align_forward(input: Tensor, rois: Tensor, output: Tensor, argmax_y: Tensor, argmax_x: Tensor, *,
                      aligned_height: int, aligned_width: int, spatial_scale: float, sampling_ratio: int,
                      pool_mode: int, aligned: bool) -> None:
    """Fill ``output`` ``(n, C, h, w)`` from ``input`` ``(B, C, H, W)`` and ``rois`` ``(n, 5)``: image, x1, y1, x2, y2.

    Raises:
        InputError: Pooling is not by average.
    """
    _require_average(pool_mode)
    dtype = _wide(input)
    output.copy_(torch.ops.torchvision.roi_align(
        input.to(dtype), rois.to(dtype), spatial_scale, aligned_height, aligned_width, sampling_ratio, aligned))


def roi_align_backward(grad_output: Tensor, rois: Tensor, argmax_y: Tensor, argmax_x: Tensor, grad_input: Tensor, *,
                       aligned_height: int, aligned_width: int, spatial_scale: float, sampling_ratio: int,
                       pool_mode: int, aligned: bool) -> None:
    """Fill ``grad_input`` ``(B, C, H, W)`` from ``grad_output`` ``(n, C, h, w)``."""
    _require_average(pool_mode)
    dtype = _wide(grad_output)
    grad_input.copy_(torch.ops.torchvision._roi_align_backward(
        grad_output.to(dtype), rois.to(dtype), spatial_scale, aligned_height, aligned_width, *grad_input.shape,
        sampling_ratio, aligned))


def get_compiler_version() -> str:
    return 'none (mmdssl.compat.mmcv_ops)'


def get_compiling_cuda_version() -> str:
    return 'none (mmdssl.compat.mmcv_ops)'


def __getattr__(name: str):
    """Any other op: there, as ``import mmcv.ops`` demands, until it is called."""
    if name.startswith('_'):
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

    def missing(*args, **kwargs):
        raise InputError(f"the op '{name}' needs a compiled mmcv: {REMEDY}")
    return missing


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)


def _require_average(pool_mode: int) -> None:
    if pool_mode != AVERAGE:
        raise InputError(f"RoIAlign with pool_mode='max' needs a compiled mmcv: set pool_mode='avg', or {REMEDY}")
