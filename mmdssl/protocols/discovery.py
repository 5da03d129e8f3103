"""Finding the object of an image without labels, by the keys or by the attention of a frozen transformer, and how often it is found."""
from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from scipy import ndimage
from torch import Tensor
from torchvision.ops import box_iou

from mmdssl.arguments import NonNegativeInt, Positive, PositiveInt, Range
from mmdssl.datasets.saliency import attended
from mmdssl.errors import InputError
from mmdssl.protocols.attention_jaccard import need_attention
from mmdssl.protocols.features import Extractor
from mmdssl.protocols.frozen import FrozenBackbone, SampleMetric
from mmdssl.registry import METRICS, MODELS

KEYS = Extractor(facet='key', read='patches')
TIED = 1e-9
COPIES = 6  # of a matrix of all pairs of patches, that its eigenvectors need


def pad_to_patches(images: Tensor, patch_size: int) -> Tensor:
    """Images ``(..., H, W)`` with zeros at the right and at the bottom, up to a multiple of the patch."""
    return F.pad(images, (0, -images.shape[-1] % patch_size, 0, -images.shape[-2] % patch_size))


def component(mask: Tensor, seed: int) -> Tensor:
    """The part of a mask ``(h, w)`` bool that is connected, by edges, to the patch of a number."""
    labels = ndimage.label(mask.cpu().numpy())[0]
    return torch.from_numpy((labels == labels.flat[seed]) & (labels > 0))


def largest_component(mask: Tensor) -> Tensor:
    """The largest part of a mask ``(h, w)`` bool that is connected by edges; of several the first."""
    labels = ndimage.label(mask.cpu().numpy())[0]
    return torch.from_numpy((labels == np.bincount(labels.flat)[1:].argmax() + 1) & (labels > 0)) if labels.any() else mask.cpu()


def box_of(mask: Tensor, patch_size: int, size: Sequence[int]) -> Tensor:
    """The box ``(4,)`` fp32 around a mask ``(h, w)`` of patches: left, upper, right and lower edge in pixels, within height and width."""
    rows, columns = (mask.any(dim).nonzero().flatten() for dim in (1, 0))
    height, width = size
    left, upper = patch_size * columns[0], patch_size * rows[0]
    right, lower = (patch_size * (places[-1] + 1) for places in (columns, rows))
    return torch.stack([left, upper, right.clamp(max=width), lower.clamp(max=height)]).float()


def lost(patches: Tensor, num_patches: int = 100) -> tuple[Tensor, int]:
    """Patches that look like the seed: the one with the fewest similar ones (Siméoni et al., LOST, BMVC 2021, Sec. 3).

    Two patches are similar where the inner product of their features is positive. The most isolated patches that are similar to the
    seed vote: what their features have a positive sum of inner products with belongs to the object. Of equally isolated patches the
    first comes first.

    Args:
        patches: ``(N, D)``, not normalised.
        num_patches: So many of the most isolated patches may vote.

    Returns:
        ``(N,)`` bool and the number of the seed, which is always in it.
    """
    products = patches @ patches.T
    others = ~torch.eye(len(patches), dtype=torch.bool, device=patches.device)
    order = ((products > 0) & others).sum(1).argsort(stable=True)
    seed, isolated = order[0], order[:num_patches]
    voters = isolated[products[seed, isolated] > 0]
    found = products[voters].sum(0) > 0
    found[seed] = True  # also where its features are all zero
    return found, int(seed)


def normalized_cut(patches: Tensor, threshold: float = 0.2, weight: float = 1e-5) -> tuple[Tensor, Tensor, int]:
    """Two groups of patches by a normalised cut (Wang et al., TokenCut, CVPR 2022, Sec. 3).

    Two patches are linked by 1 where the cosine of their features is above a threshold, else by a small weight. Of ``(D - W) y =
    lambda D y``, with the sums of W on the diagonal of D, the second eigenvector is split at its mean; the object is on the side of the
    entry that is farthest from zero, the seed; of equal ones the first. Solved as ``D^-1/2 (D - W) D^-1/2``, in fp64.

    Args:
        patches: ``(N, D)``.
        threshold: Of the cosine.
        weight: Of patches that are not similar.

    Returns:
        The eigenvector ``(N,)`` fp64, positive at the seed; the side of the object ``(N,)`` bool; and the number of the seed.
    """
    normalised = F.normalize(patches, dim=1)
    graph = (normalised @ normalised.T > threshold).double().clamp(min=weight)
    root = graph.sum(1).rsqrt()
    laplacian = torch.eye(len(graph), dtype=graph.dtype, device=graph.device) - root[:, None] * graph * root
    vector = root * torch.linalg.eigh(laplacian).eigenvectors[:, min(1, len(graph) - 1)]
    size = vector.abs()
    seed = int((size >= size.max() * (1 - TIED)).byte().argmax())  # rounding would choose among patches that are linked to the same ones
    above = vector > vector.mean()
    return (vector, above, seed) if above[seed] else (-vector, ~above, seed)


class ObjectDiscovery(FrozenBackbone):
    """One ``box`` ``(4,)`` around the main object of ``image`` ``(3, H, W)`` uint8, in pixels, and its ``mask`` ``(h, w)`` of patches.

    The image is padded with zeros, after normalisation, to a multiple of the patch. A subclass says in :meth:`find` which patches are
    the object.

    Args:
        backbone: Config of a network of patches.
        data_preprocessor: Of images; ImageNet's mean and deviation by default.
        init_cfg: MMEngine's.

    Raises:
        InputError: The backbone has no patches.
    """

    def __init__(self, backbone: dict, data_preprocessor: dict | None = None, init_cfg: dict | None = None):
        super().__init__(backbone, data_preprocessor, init_cfg)
        if not hasattr(self.backbone, 'patch_size'):
            raise InputError(f'{type(self.backbone).__name__} has no patch_size, and boxes are made of patches: use a VisionTransformer')

    @torch.no_grad()
    def predict_sample(self, sample: dict) -> dict:
        image, patch = self.data_preprocessor.normalise(sample['image'])[None], self.backbone.patch_size
        mask = self.find(pad_to_patches(image, patch))
        return dict(box=box_of(mask, patch, image.shape[-2:]), mask=mask)

    def find(self, images: Tensor) -> Tensor:
        """The patches ``(h, w)`` bool, on the CPU, of the object of an image ``(1, 3, H, W)``, normalised, of whole patches."""
        raise NotImplementedError


class KeyDiscovery(ObjectDiscovery):
    """Discovery by the features of patches: the keys of the last block, heads side by side, without the class token.

    Args:
        backbone: Config of the network.
        extractor: What is read of it, if not those keys: arguments of :class:`mmdssl.protocols.features.Extractor` with
            ``read='patches'``.
        data_preprocessor: Of images; ImageNet's mean and deviation by default.
        init_cfg: MMEngine's.
    """

    def __init__(self, backbone: dict, extractor: Mapping | Extractor | None = None, data_preprocessor: dict | None = None,
                 init_cfg: dict | None = None):
        super().__init__(backbone, data_preprocessor, init_cfg)
        self.extractor = Extractor.of(extractor or KEYS)
        if self.extractor.read != 'patches':
            raise InputError(f"objects are found by patches, and the extractor has read='{self.extractor.read}': set it to 'patches'")

    def patches(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Features ``(N, D)`` fp32 of an image ``(1, 3, H, W)``, and the grid ``(h, w)`` that they are of."""
        height, width = (side // self.backbone.patch_size for side in images.shape[-2:])
        return self.extractor(self.backbone, images)[0].float(), (height, width)


@MODELS.register_module()
class LOST(KeyDiscovery):
    """The patches that are linked to the seed of :func:`lost`, in one piece.

    Args:
        backbone: Config of the network.
        num_patches: See :func:`lost`.
        extractor: See :class:`KeyDiscovery`.
        data_preprocessor: Of images; ImageNet's mean and deviation by default.
        init_cfg: MMEngine's.
    """

    def __init__(self, backbone: dict, num_patches: PositiveInt = 100, extractor: Mapping | Extractor | None = None,
                 data_preprocessor: dict | None = None, init_cfg: dict | None = None):
        super().__init__(backbone, extractor, data_preprocessor, init_cfg)
        self.num_patches = num_patches

    def find(self, images: Tensor) -> Tensor:
        patches, grid = self.patches(images)
        with torch.autocast(patches.device.type, enabled=False):  # also where test_cfg.fp16 is set
            found, seed = lost(patches, self.num_patches)
        return component(found.view(grid), seed)


@MODELS.register_module()
class TokenCut(KeyDiscovery):
    """The patches on the side of the seed of :func:`normalized_cut`, in one piece.

    Args:
        backbone: Config of the network.
        threshold: See :func:`normalized_cut`.
        weight: See there.
        max_patches: Of an image; memory and time grow with their square and cube, 10,000 need about 5 GB.
        extractor: See :class:`KeyDiscovery`.
        data_preprocessor: Of images; ImageNet's mean and deviation by default.
        init_cfg: MMEngine's.

    Raises:
        InputError: While predicting, an image has more patches.
    """

    def __init__(self, backbone: dict, threshold: Annotated[float, Range('from -1 to below 1', lambda cosine: -1 <= cosine < 1)] = 0.2,
                 weight: Positive = 1e-5, max_patches: PositiveInt = 10000, extractor: Mapping | Extractor | None = None,
                 data_preprocessor: dict | None = None, init_cfg: dict | None = None):
        super().__init__(backbone, extractor, data_preprocessor, init_cfg)
        self.graph = dict(threshold=threshold, weight=weight)
        self.max_patches = max_patches

    def cut(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The eigenvector ``(h, w)`` of an image ``(1, 3, H, W)`` of whole patches, and :meth:`find`'s mask of it, on the CPU."""
        height, width = (side // self.backbone.patch_size for side in images.shape[-2:])
        if height * width > self.max_patches:
            raise InputError(f'an image of {images.shape[-2]} x {images.shape[-1]} pixels has {height * width} patches, whose eigenvectors '
                             f'need about {COPIES * 8 * (height * width)**2 / 1e9:.1f} GB: set max_side of the data, or raise max_patches')
        patches, grid = self.patches(images)
        with torch.autocast(patches.device.type, enabled=False):  # also where test_cfg.fp16 is set
            vector, found, seed = normalized_cut(patches, **self.graph)
        return vector.view(grid).cpu(), component(found.view(grid), seed)

    def find(self, images: Tensor) -> Tensor:
        return self.cut(images)[1]


@MODELS.register_module()
class AttentionDiscovery(ObjectDiscovery):
    """The largest piece of the fewest patches that together have a share of the attention of the class token in the last block.

    Args:
        backbone: Config of a network with ``attention_maps(images)``.
        mass: The share.
        head: Number of the head; None for the mean of all. Which head is best differs between networks: for DINO's ViT-S the
            fifth (``head=4``) is the usual choice.
        data_preprocessor: Of images; ImageNet's mean and deviation by default.
        init_cfg: MMEngine's.

    Raises:
        InputError: The backbone has no attention of a class token, or no such head.
    """

    def __init__(self, backbone: dict, mass: Annotated[float, Range('above 0 and below 1', lambda share: 0 < share < 1)] = 0.6,
                 head: NonNegativeInt | None = None, data_preprocessor: dict | None = None, init_cfg: dict | None = None):
        super().__init__(backbone, data_preprocessor, init_cfg)
        need_attention(self.backbone)
        self.mass = mass
        self.head = head

    def find(self, images: Tensor) -> Tensor:
        maps = self.backbone.attention_maps(images)
        if self.head is not None:
            if self.head >= maps.shape[1]:
                raise InputError(f'head={self.head}, and the backbone has {maps.shape[1]}: they count from 0')
            maps = maps[:, self.head:self.head + 1]
        return largest_component(attended(maps, self.mass)[0])


@METRICS.register_module()
class CorLocMetric(SampleMetric):
    """``corloc``, the share of images whose box has an IoU of at least 0.5 with one of the annotated boxes, and ``box_iou``, the mean over
    images of the IoU with the box that fits best; in percent.

    All boxes that the data set gives count. Images without any do not; a warning says how many there are.

    Args:
        threshold: Of the IoU.
        prefix: MMEngine's.
    """

    def __init__(self, threshold: Annotated[float, Range('above 0 and at most 1', lambda share: 0 < share <= 1)] = 0.5,
                 prefix: str | None = None):
        super().__init__(prefix)
        self.threshold = threshold

    def process(self, data_batch: Sequence[dict], data_samples: Sequence[dict]) -> None:
        for sample, prediction in zip(data_batch, data_samples):
            boxes = sample['boxes']
            self.results.append(float(box_iou(prediction['box'][None].double(), boxes.double()).max()) if len(boxes) else math.nan)

    def compute_metrics(self, results: list) -> dict[str, float]:
        found = np.array(results)
        found = found[~np.isnan(found)]
        if not len(found):
            raise InputError('no image has a box: there is nothing to find')
        if len(found) < len(results):
            print_log(f'{len(results) - len(found)} of the {len(results)} images have no box, and do not count', 'current', logging.WARNING)
        return dict(corloc=100 * float((found >= self.threshold).mean()), box_iou=100 * float(found.mean()))
