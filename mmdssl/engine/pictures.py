"""What a network sees and has learned, as pictures: of a checkpoint (tools/draw.py), or of a run (VisualizeHook)."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.functional import pil_to_tensor

from mmdssl.datasets.base import ImageDataset
from mmdssl.datasets.preprocessor import adjusted
from mmdssl.datasets.views import Views
from mmdssl.errors import InputError
from mmdssl.models.algorithms import Algorithm
from mmdssl.models.algorithms.densecl import most_alike
from mmdssl.models.layers.position import relative_coordinates
from mmdssl.visualization import (
    draw_attention,
    draw_crops,
    draw_matches,
    draw_neighbours,
    draw_patch_neighbours,
    draw_principal,
    draw_queries,
    draw_reconstruction,
    nearest_images,
    nearest_patches,
    principal_colours,
)

BATCH = 32
NEIGHBOURS = 5
UNKNOWN_VIEWS = 'views are needed, and nothing says which: give the --config of a pretraining, or the epoch_N.pth of its run'


@dataclass
class Scene:
    """What there is to draw from.

    Attributes:
        backbone: In eval mode.
        normalise: uint8 images to what the backbone reads, such as ``ViewsPreprocessor().normalise``.
        images: ``(n, 3, S, S)`` uint8; the first are drawn, and neighbours are looked for among all.
        shown: How many are drawn.
        dataset: Makes the views that are drawn; None where there are none.
        keys: Of the dataset, of the images whose views are drawn.
        algorithm: The method; None where only a backbone is known.
        untrained: Why the algorithm has no trained weights outside the backbone; empty where it has.
        default_views: The views are no method's own.
        foreground: See :func:`mmdssl.visualization.principal_colours`.
        patch: The place ``(x, y)``, in shares of an image, of the patch whose neighbours are looked for.
        lines: See :func:`mmdssl.visualization.draw_matches`.
        grid: Match so many cells a side; None for those of the last map.
        random: The same network with random weights, to compare with.
    """
    backbone: nn.Module
    normalise: Callable[[Tensor], Tensor]
    images: Tensor
    shown: int
    dataset: ImageDataset | None = None
    keys: Sequence[tuple[int, int, int]] = ()
    algorithm: Algorithm | None = None
    untrained: str = ''
    default_views: bool = False
    foreground: bool = False
    patch: tuple[float, float] = (0.5, 0.5)
    lines: int = 16
    grid: int | None = None
    random: nn.Module | None = None

    @cached_property
    def seen(self) -> tuple[Tensor, Tensor]:
        """Features of all images, ``(n, D)``, and their last map, ``(n, C, h, w)``."""
        parts = [self._look(self.normalise(batch)) for batch in self.images.split(BATCH)]
        return torch.cat([features for features, _ in parts]), torch.cat([maps for _, maps in parts])

    def _look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        maps = last_map(self.backbone, images)
        features = self.backbone.features(images) if hasattr(self.backbone, 'features') else maps.mean((2, 3))
        return features.float().cpu(), maps.float().cpu()

    @cached_property
    def samples(self) -> list[Views]:
        """The views of each image, of uint8 pixels."""
        if self.dataset is None:
            raise InputError(UNKNOWN_VIEWS)
        return [adjusted(self.dataset[key]) for key in self.keys]

    @cached_property
    def views(self) -> Views:
        """Those of all images, as the method reads them."""
        preprocessor = self.algorithm.data_preprocessor
        return preprocessor(Views.collate(self.samples))['views']

    @property
    def photos(self) -> list[Image.Image]:
        """What the views are cropped from."""
        return [self.dataset.whole_image(int(sample.indices)) for sample in self.samples]


def spread(total: int, number: int) -> list[int]:
    """So many numbers below ``total``, or all of them, at even distances: of sorted class folders, images of most classes."""
    return [i * total // number for i in range(number)] if number < total else list(range(total))


def last_map(backbone: nn.Module, images: Tensor) -> Tensor:
    """The last map of a backbone, ``(B, C, h, w)``.

    Raises:
        InputError: It has none.
    """
    maps = backbone(images)
    last = maps[-1] if isinstance(maps, (list, tuple)) else maps
    if last.ndim != 4:
        raise InputError(f'a {type(backbone).__name__} has no map of places, so its patches cannot be drawn: use another backbone')
    return last


def attention(scene: Scene) -> Image.Image:
    images = scene.images[:scene.shown]
    if not hasattr(scene.backbone, 'attention_maps') and not hasattr(scene.backbone, 'heat_map'):
        raise InputError(f'a {type(scene.backbone).__name__} cannot say where it looks: use another backbone')

    def maps(backbone: nn.Module) -> Tensor:
        pixels = scene.normalise(images)
        return backbone.attention_maps(pixels) if hasattr(backbone, 'attention_maps') else backbone.heat_map(pixels)[:, None]
    return draw_attention(images, maps(scene.backbone), None if scene.random is None else maps(scene.random))


def pca(scene: Scene) -> Image.Image:
    return draw_principal(scene.images[:scene.shown], principal_colours(scene.seen[1][:scene.shown], scene.foreground))


def neighbours(scene: Scene) -> Image.Image:
    _need_others(scene)
    return draw_neighbours(scene.images, *nearest_images(scene.seen[0], scene.shown, NEIGHBOURS))


def patches(scene: Scene) -> Image.Image:
    _need_others(scene)
    maps = scene.seen[1]
    column, row = (min(int(share * length), length - 1) for share, length in zip(scene.patch, (maps.shape[3], maps.shape[2])))
    patch = row * maps.shape[3] + column
    return draw_patch_neighbours(scene.images, patch, *nearest_patches(maps, scene.shown, patch, NEIGHBOURS))


def _need_others(scene: Scene) -> None:
    if len(scene.images) < 2:
        raise InputError('neighbours are looked for among other images, and there is one alone: give more --images')


def matches(scene: Scene) -> Image.Image:
    """DenseCL's correspondence (Fig. 4), of any backbone."""
    groups = [sample['global'] for sample in scene.samples if 'global' in sample.groups]
    if not groups or len(groups[0].flips) < 2:
        raise InputError('two views of an image are compared, and the config makes less: give train_dataloader.dataset.views a group '
                         'global_ with num=2')
    pair = torch.stack([group.images[:2] for group in groups], dim=1)
    boxes, flips = (torch.stack([getattr(group, name)[:2] for group in groups], dim=1) for name in ('boxes', 'flips'))
    maps = [last_map(scene.backbone, scene.normalise(view)) for view in pair]
    grid = scene.grid or getattr(scene.algorithm, 'grid', None) or maps[0].shape[-1]
    found, sure = most_alike(*(F.adaptive_avg_pool2d(each, grid).flatten(2).mT for each in maps))
    truth = relative_coordinates(boxes[1], flips[1], boxes[0], flips[0], grid, grid, 'center')
    return draw_matches(*pair, found.cpu(), sure.cpu(), truth, scene.lines)


def crops(scene: Scene) -> Image.Image:
    """Where views come from, and where ContrastiveCrop takes them from."""
    if scene.default_views:
        raise InputError(UNKNOWN_VIEWS)
    samples, maps, boxes = scene.samples, None, scene.dataset.crop_boxes
    if hasattr(scene.backbone, 'heat_map'):
        side = samples[0][next(iter(samples[0]))].images.shape[-1]
        whole = [photo.convert('RGB').resize((side, side), Image.Resampling.BICUBIC) for photo in scene.photos]
        maps = scene.backbone.heat_map(scene.normalise(torch.stack([pil_to_tensor(photo) for photo in whole])))
    if boxes is not None:
        boxes = boxes[torch.stack([sample.indices for sample in samples])]
    return draw_crops(scene.photos, samples, maps, boxes)


def boxes(scene: Scene) -> Image.Image:
    """PQCL's queries, at the very coordinates that the method computes."""
    if not hasattr(scene.algorithm, 'coordinates'):
        raise InputError('positional queries are those of PQCL, and this method or weight file has none: give the --config of PQCL or the '
                         'epoch_N.pth of its run')
    views, samples = scene.views, scene.samples
    view, query = views['global'], views['query']
    backbone, number = scene.algorithm.backbone, len(query.flips)
    grid, query_grid = (group.images.shape[-1] // backbone.patch_size for group in (view, query))
    told = scene.algorithm.coordinates(views).unflatten(2, (number, -1)).cpu()
    own = (told + 0.5) * (grid / backbone.frame[0]) - 0.5  # not stretched over the frame: in patches of the view
    ratio = query.boxes.transpose(0, 1)[..., 2:] / view.boxes[:, :, None, 2:]
    sizes = (ratio / query_grid).cpu()
    corner = scene.algorithm.anchor == 'corner'
    places = (own / grid + sizes[:, :, :, None] / 2) if corner else (own + 0.5) / grid
    return draw_queries(scene.photos, samples, places, sizes, told)


def reconstruction(scene: Scene) -> Image.Image:
    if not hasattr(scene.algorithm, 'pictures'):
        raise InputError('reconstructions are those of MAE, MaskFeat and BEiT, and this method or weight file draws none: give the '
                         'epoch_N.pth of such a run, which has the decoder beside the backbone')
    if scene.untrained:
        raise InputError(scene.untrained)
    pictures = scene.algorithm.pictures(scene.views)
    return draw_reconstruction({name: column[:len(scene.samples)] for name, column in pictures.items()})


PICTURES: dict[str, Callable[[Scene], Image.Image]] = dict(
    attention=attention, pca=pca, neighbours=neighbours, patches=patches, matches=matches, crops=crops, boxes=boxes,
    reconstruction=reconstruction)
