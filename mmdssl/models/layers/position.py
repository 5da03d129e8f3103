"""Position embeddings at real coordinates, and where a query crop lies in the frame of a view.

A coordinate is measured in patches of a frame: the patch in column ``j`` and row ``i`` occupies ``[j, j+1) x [i, i+1)``
and has the coordinate ``(x, y) = (j, i)`` of its corner.
"""
from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from timm.layers import gen_relative_position_index
from torch import Tensor

from mmdssl.errors import InputError


def sincos2d(x: Tensor, y: Tensor, dim: int) -> Tensor:
    """Fixed sine-cosine embedding of any real coordinates, in MAE's layout.

    Args:
        x: Column coordinates, any shape ``(...)``; negative and fractional values are as good as others.
        y: Row coordinates, same shape.
        dim: Channels, a multiple of 4.

    Returns:
        ``(..., dim)``: ``[sin(x w), cos(x w), sin(y w), cos(y w)]`` with ``w_k = 10000^(-k / (dim/4))``.
    """
    if dim % 4:
        raise InputError(f'sin-cos positions need a width that is a multiple of 4, got {dim}: choose another embed_dim')
    quarter = dim // 4
    frequencies = 10000 ** (-torch.arange(quarter, device=x.device, dtype=x.dtype) / quarter)
    x, y = x[..., None] * frequencies, y[..., None] * frequencies
    return torch.cat([x.sin(), x.cos(), y.sin(), y.cos()], dim=-1)


def integer_grid(grid: tuple[int, int], device: torch.device | None = None) -> Tensor:
    """Coordinates ``(h*w, 2)``, row-major, of the patches of an ``(h, w)`` grid in its own frame."""
    return stretched_grid(grid, grid, device)


def stretched_grid(grid: tuple[int, int], frame: tuple[int, int], device: torch.device | None = None) -> Tensor:
    """Coordinates ``(h*w, 2)`` of an ``(h, w)`` grid stretched over a frame of another size.

    Patch centres map to ``(c + 1/2) G/g - 1/2``, what resizing a table of the frame's size to ``(h, w)`` amounts to
    (PQCL, position of the teacher's query crop; also crops and evaluation images of other sizes).
    """
    rows, columns = ((torch.arange(n, device=device, dtype=torch.float32) + 0.5) * (size / n) - 0.5
                     for n, size in zip(grid, frame))
    y, x = torch.meshgrid(rows, columns, indexing='ij')
    return torch.stack([x, y], dim=-1).flatten(0, 1)


def relative_coordinates(view_boxes: Tensor, view_flips: Tensor, query_boxes: Tensor, query_flips: Tensor, grid: int,
                         query_grid: int, anchor: str = 'corner') -> Tensor:
    """Where the patches of a query crop lie in the frame of a view (PQCL, Sec. 3.2).

    Args:
        view_boxes: ``(..., 4)`` boxes ``(x, y, w, h)`` of the views in pixels of the decoded image, edges continuous.
        view_flips: ``(...)`` bool, views mirrored left to right.
        query_boxes: Boxes of the query crops, broadcast against ``view_boxes``.
        query_flips: Flips of the query crops.
        grid: Patches per side of a view, G.
        query_grid: Patches per side of a query crop.
        anchor: What a coordinate names: ``'corner'``, the left upper corner of the patch (the paper's), or ``'center'``,
            which does not shift with the size of the patch.

    Returns:
        ``(..., query_grid**2, 2)`` coordinates ``(x, y)``, row-major over the query crop as it is seen (after its flip).
        Outside the view they leave ``[0, G-1]``; they are not clamped.
    """
    if anchor not in ('corner', 'center'):
        raise InputError(f"anchor is 'corner' or 'center', got {anchor!r}")
    x0, y0, w, h = view_boxes.unsqueeze(-1).unbind(-2)
    qx, qy, qw, qh = query_boxes.unsqueeze(-1).unbind(-2)
    index = torch.arange(query_grid, device=view_boxes.device, dtype=view_boxes.dtype)
    column = torch.where(query_flips[..., None], query_grid - 1 - index, index)
    stride_x, stride_y = (qw / query_grid) * (grid / w), (qh / query_grid) * (grid / h)
    left = (qx - x0) * (grid / w) + column * stride_x
    left = torch.where(view_flips[..., None], grid - left - stride_x, left)
    top = (qy - y0) * (grid / h) + index * stride_y
    if anchor == 'center':
        left, top = left + stride_x / 2 - 0.5, top + stride_y / 2 - 0.5
    left, top = torch.broadcast_tensors(left[..., None, :], top[..., :, None])
    return torch.stack([left, top], dim=-1).flatten(-3, -2)


def resize_table(table: Tensor, grid: tuple[int, int], rule: str = 'size') -> Tensor:
    """Resize a learnable table of patch positions bicubically, in fp32.

    Args:
        table: ``(1, G*G, D)``.
        grid: Wanted ``(h, w)``.
        rule: The sampling rule the weights were made with: ``'size'`` (ours), ``'dino'`` (scale factor ``(g + 0.1) / G``,
            as DINO, iBOT and SelfPatch sample) or ``'antialias'`` (timm).

    Returns:
        ``(1, h*w, D)``.
    """
    side = round(table.shape[1] ** 0.5)
    if grid == (side, side):
        return table
    maps = table.float().unflatten(1, (side, side)).permute(0, 3, 1, 2)
    if rule == 'dino':
        maps = F.interpolate(maps, scale_factor=tuple((g + 0.1) / side for g in grid), mode='bicubic')
    elif rule in ('size', 'antialias'):
        maps = F.interpolate(maps, size=grid, mode='bicubic', antialias=rule == 'antialias')
    else:
        raise InputError(f"position_rule is 'size', 'dino' or 'antialias', got {rule!r}")
    return maps.flatten(2).transpose(1, 2)


def relative_table(frame: tuple[int, int], num_heads: int) -> Tensor:
    """A table of zeros for :func:`relative_bias`."""
    return torch.zeros((2 * frame[0] - 1) * (2 * frame[1] - 1) + 3, num_heads)


def relative_bias(table: Tensor, grid: tuple[int, int], frame: tuple[int, int]) -> Tensor:
    """BEiT's bias of the attention between the tokens of a grid, by their distance.

    Args:
        table: ``((2 G_h - 1) (2 G_w - 1) + 3, heads)`` for the frame ``(G_h, G_w)``; the last three rows are from CLS to a patch,
            from a patch to CLS and from CLS to itself.
        grid: Patches ``(h, w)``; where it differs from the frame, distances are resized bicubically in fp32.
        frame: The grid that the table was made for.

    Returns:
        ``(heads, 1 + h*w, 1 + h*w)``, queries by keys.
    """
    distances, of_class = table[:-3], table[-3:]
    if grid != frame:
        maps = distances.float().T.unflatten(1, [2 * side - 1 for side in frame])
        maps = F.interpolate(maps[None], size=[2 * side - 1 for side in grid], mode='bicubic')[0]
        distances = maps.flatten(1).T.to(table.dtype)
    return torch.cat([distances, of_class])[_relative_index(grid, table.device)].permute(2, 0, 1)


@lru_cache(maxsize=4)
def _relative_index(grid: tuple[int, int], device: torch.device) -> Tensor:
    return gen_relative_position_index(grid, class_token=True).to(device)
