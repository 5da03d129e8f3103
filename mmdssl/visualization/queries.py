"""Pictures of where query crops lie in the views of their image."""
from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from mmdssl.datasets.views import Views
from mmdssl.visualization.crops import outlined
from mmdssl.visualization.sheet import INK, Tile, fitted, sheet, tile_side

CORNERS = torch.tensor([[[230., 40, 40], [250, 210, 30]], [[50, 90, 240], [40, 200, 110]]])  # colours of the corners of a crop
REACH = 1.  # of a picture around a view, in sides of the view
PAPER = (235, 235, 235)
VIEW_COLOURS, QUERY_COLOUR = ('darkorange', 'deepskyblue', 'yellow', 'lime'), 'magenta'


def draw_queries(images: Sequence[Image.Image], views: Sequence[Views], places: Tensor, sizes: Tensor,
                 coordinates: Tensor) -> Image.Image:
    """A row per query crop: the image with its views and the crop, the crop, each view and the patches of the crop in it.

    A patch has the same colour everywhere: a mirror image swaps left and right.

    Args:
        images: The images that views are cropped from, B.
        views: Of each, of uint8 pixels, with the groups ``global``, V views, and ``query``, C crops of Q x Q patches.
        places: Centre of each patch of each crop in each view, ``(V, B, C, Q*Q, 2)`` ``(x, y)``, from 0 at its left upper corner to 1.
        sizes: Width and height of such a patch, in the same unit, ``(V, B, C, 2)``.
        coordinates: What the network is told of each patch, ``(V, B, C, Q*Q, 2)``, in patches of its frame.
    """
    crops = places.shape[2]
    side = tile_side(len(images) * crops, 2 + len(places))
    query_grid = round(places.shape[3]**0.5)
    colours = position_colours(query_grid)
    own = torch.stack(torch.meshgrid(*[(torch.arange(query_grid) + 0.5) / query_grid] * 2, indexing='xy'), dim=-1).flatten(0, 1)
    rows = []
    for i, (image, of_image) in enumerate(zip(images, views)):
        for c in range(crops):
            crop = _dotted(of_image['query'].images[c], own, torch.full((2, ), 1 / query_grid), colours, side, 0., QUERY_COLOUR)
            edges = (places[:, i, c] - 0.5).abs() + sizes[:, i, c, None] / 2
            margin = float((edges.amax() - 0.5).clamp(0, REACH))
            in_views = [Tile(_dotted(view, *placed, colours, side, margin, colour), _range(told)) for view, *placed, told, colour in
                        zip(of_image['global'].images, places[:, i, c], sizes[:, i, c], coordinates[:, i, c], cycle(VIEW_COLOURS))]
            frames = {colour: box[None] for colour, box in zip(VIEW_COLOURS, of_image['global'].boxes)}
            rows.append([outlined(image, {**frames, QUERY_COLOUR: of_image['query'].boxes[c, None]}, side), crop, *in_views])
    columns = ['image', 'query', *(f'view {v + 1}' for v in range(len(places)))]
    return sheet(rows, 'Where query crops are in each view', 'Below views: the first and the last coordinate (x, y) of the crop, in '
                 'patches, as the network is told them.', columns)


def position_colours(grid: int) -> Tensor:
    """A colour for each patch, ``(grid^2, 3)`` in 0..255: red, yellow, blue and green in the corners, and between them."""
    return torch.nn.functional.interpolate(CORNERS.movedim(-1, 0)[None], (grid, grid), mode='bilinear',
                                           align_corners=True)[0].flatten(1).T if grid > 1 else CORNERS[0, :1]


def _dotted(view: Tensor, places: Tensor, size: Tensor, colours: Tensor, side: int, margin: float,
            colour: str) -> Image.Image:
    """The view, with so much around it, and a square in the middle of each patch."""
    scale = side / (1 + 2 * margin)
    corner = round(margin * scale)
    picture = Image.new('RGB', (side, side), PAPER)
    picture.paste(fitted(view, round(scale)), (corner, corner))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((corner, corner, corner + round(scale) - 1, corner + round(scale) - 1), outline=colour, width=2)
    half = (size * scale / 4).clamp(min=1.5)
    for (x, y), inside in zip(((places + margin) * scale).tolist(), colours.round().int().tolist()):
        draw.rectangle((x - half[0], y - half[1], x + half[0], y + half[1]), tuple(inside), INK if half.min() > 3 else None)
    return picture


def _range(coordinates: Tensor) -> str:
    (x0, y0), (x1, y1) = coordinates[[0, -1]].tolist()
    return f'({x0:.1f}, {y0:.1f}) to ({x1:.1f}, {y1:.1f})'
