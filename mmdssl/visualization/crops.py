"""Pictures of where views come from."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms import functional as F
from torchvision.utils import draw_bounding_boxes, make_grid

from mmdssl.datasets.views import Views

BOX_COLOUR = 'lime'
GROUP_COLOURS = {'global': 'orange', 'local': 'cyan'}
OTHER_COLOUR = 'magenta'


def draw_crops(images: Sequence[Image.Image], maps: Tensor, boxes: Tensor, views: Sequence[Views], path: str | Path,
               size: int = 224) -> None:
    """Write a picture, a row per image: what the network looks at and the box around it, where crops are, each crop.

    Args:
        images: The images that views are cropped from.
        maps: ``(B, h, w)``, where the network looks, on any scale; the rest of the image is dimmed.
        boxes: ``(B, 4)`` ``(h0, w0, h1, w1)`` in [0, 1], drawn in green.
        views: Of each image, global ones framed in orange, local ones in cyan.
        path: The PNG to write.
        size: Side of a tile in pixels.
    """
    tiles = [tile for row in zip(images, maps, boxes, views) for tile in _row(*row, size)]
    F.to_pil_image(make_grid(tiles, nrow=len(tiles) // len(images), padding=4, pad_value=255)).save(path)


def _row(image: Image.Image, heat: Tensor, box: Tensor, views: Views, size: int) -> list[Tensor]:
    scale = size / max(image.size)
    height, width = round(image.height * scale), round(image.width * scale)
    photo = F.pil_to_tensor(F.resize(image, [height, width]))
    heat = heat.float().cpu()
    heat = (heat - heat.min()) / (heat.max() - heat.min()).clamp(min=1e-12)
    heat = interpolate(heat[None, None], (height, width), mode='bilinear')[0]
    edges = box.cpu()[[1, 0, 3, 2]] * torch.tensor([width, height, width, height])
    looked_at = draw_bounding_boxes((photo * (0.25 + 0.75 * heat)).byte(), edges[None], colors=BOX_COLOUR, width=3)
    frame, framed, crops = torch.tensor([[0, 0, size - 1, size - 1]]), photo, []
    for name, group in views.items():
        colour = GROUP_COLOURS.get(name, OTHER_COLOUR)
        corners = torch.cat([group.boxes[:, :2], group.boxes[:, :2] + group.boxes[:, 2:]], dim=1)
        framed = draw_bounding_boxes(framed, corners * scale, colors=colour, width=2)
        crops += [draw_bounding_boxes(F.resize(crop, [size, size]), frame, colors=colour, width=3)
                  for crop in group.images]
    return [*(F.pad(tile, [0, 0, size - width, size - height], fill=255) for tile in (looked_at, framed)), *crops]
