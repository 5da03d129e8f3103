"""Pictures of where views come from."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from mmdssl.datasets.views import Views
from mmdssl.visualization.sheet import fitted, sheet, tile_side

BOX_COLOUR = 'lime'
GROUP_COLOURS = {'global': 'orange', 'local': 'cyan'}
OTHER_COLOUR = 'magenta'


def draw_crops(images: Sequence[Image.Image], views: Sequence[Views], maps: Tensor | None = None,
               boxes: Tensor | None = None) -> Image.Image:
    """A row per image: what the network looks at and the box around it, where its views are, each of them.

    Args:
        images: The images that views are cropped from.
        views: Of each image, of uint8 pixels: global ones framed in orange, local ones in cyan, others in magenta.
        maps: ``(B, h, w)``, where the network looks, on any scale; the rest of the image is dimmed.
        boxes: ``(B, 4)`` ``(h0, w0, h1, w1)`` in [0, 1], drawn in green.
    """
    number = sum(len(group.flips) for group in views[0].values())
    side = tile_side(len(images), number + 1 + (maps is not None))
    rows = []
    for i, (image, of_image) in enumerate(zip(images, views)):
        row = []
        if maps is not None:
            row.append(_looked_at(fitted(image, side), maps[i], None if boxes is None else boxes[i]))
        boxes_of = {GROUP_COLOURS.get(name, OTHER_COLOUR): group.boxes for name, group in of_image.items()}
        row += [outlined(image, boxes_of, side), *(_tile(crop, name, side) for name, group in of_image.items() for crop in group.images)]
        rows.append(row)
    columns = [*(['looks at'] if maps is not None else []), 'views', *(name for name, group in views[0].items() for _ in group.flips)]
    legend = ', '.join(f'{GROUP_COLOURS.get(name, OTHER_COLOUR)}: {name}' for name in views[0])
    return sheet(rows, 'Where views come from', f'Frames of views: {legend}' + (
        f'; {BOX_COLOUR}: what ContrastiveCrop takes for the object.' if boxes is not None else '.'), columns)


def outlined(image: Image.Image, boxes: Mapping[str, Tensor], side: int) -> Image.Image:
    """The image with frames: by colour, boxes ``(n, 4)`` ``(x, y, w, h)`` in its pixels."""
    picture, scale = fitted(image, side), side / max(image.size)
    draw = ImageDraw.Draw(picture)
    for colour, group in boxes.items():
        for x, y, width, height in (group * scale).tolist():
            draw.rectangle((x, y, x + width - 1, y + height - 1), outline=colour, width=2)
    return picture


def _tile(crop: Tensor, name: str, side: int) -> Image.Image:
    picture = fitted(crop, side)
    ImageDraw.Draw(picture).rectangle((0, 0, side - 1, side - 1), outline=GROUP_COLOURS.get(name, OTHER_COLOUR), width=3)
    return picture


def _looked_at(photo: Image.Image, values: Tensor, box: Tensor | None) -> Image.Image:
    values = values.float().cpu()
    values = (values - values.min()) / (values.max() - values.min()).clamp(min=1e-12)
    values = F.interpolate(values[None, None], (photo.height, photo.width), mode='bilinear')[0, 0].numpy()
    dimmed = Image.composite(photo, photo.point(lambda level: level // 4), Image.fromarray((255 * values).round().astype('uint8')))
    if box is not None:
        top, left, bottom, right = (box.cpu() * torch.tensor([photo.height, photo.width] * 2)).tolist()
        ImageDraw.Draw(dimmed).rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=BOX_COLOUR, width=3)
    return dimmed
