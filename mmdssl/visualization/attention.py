"""Pictures of what a network attends to."""
from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms.functional import to_pil_image
from torchvision.utils import make_grid


@torch.no_grad()
def draw_attention(backbone: nn.Module, images: Tensor, normalised: Tensor, path: str | Path) -> None:
    """Write a picture: each image, and beside it the last block's attention of CLS to the patches, a column per head.

    Of a network without ``attention_maps`` a single column, its ``heat_map``.

    Args:
        backbone: A backbone of ours in eval mode.
        images: ``(B, 3, H, W)`` uint8, for the picture.
        normalised: The same images as the backbone wants them.
        path: The PNG to write.
    """
    per_head = hasattr(backbone, 'attention_maps')
    maps = backbone.attention_maps(normalised) if per_head else backbone.heat_map(normalised)[:, None]
    maps = maps.float().cpu()
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    maps = F.interpolate((maps - low) / (high - low).clamp(min=1e-12), size=images.shape[-2:], mode='nearest')
    shown = images.cpu().float() / 255
    # The photo stays visible, dimmed, under the attention.
    heads = shown[:, None] * (0.25 + 0.75 * maps[:, :, None])
    rows = torch.cat([shown[:, None], heads], dim=1)
    to_pil_image(make_grid(rows.flatten(0, 1), nrow=rows.shape[1], padding=2, pad_value=1.)).save(path)
