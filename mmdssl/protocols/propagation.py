"""Labels of the first frame of a video, carried through it by the similarity of features.

Jabri et al., "Space-Time Correspondence as a Contrastive Random Walk", NeurIPS 2020, in the form DINO evaluates with.
"""
from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from mmdssl.arguments import NonEmpty, NonNegativeInt, Positive, PositiveInt
from mmdssl.errors import InputError
from mmdssl.protocols.frozen import FrozenBackbone
from mmdssl.registry import MODELS

VOID = 255
TILE = 8
PRECISIONS = dict(bf16=torch.bfloat16, fp16=torch.float16)


@MODELS.register_module()
class MaskPropagation(FrozenBackbone):
    """Carries the mask of a video's first frame through it, by the similarity of a backbone's features.

    See :func:`propagate`. Nothing is trained.

    Args:
        backbone: Config of a network that gives feature maps ``(B, D, h, w)`` of images ``(B, 3, H, W)``; the last map
            is used. Its stride must divide the images.
        context_frames: Number of frames before the current one that are context, besides the first; several numbers are
            evaluated one after another on the same features.
        radius: Context tokens are at most so many rows and columns away; None for no limit.
        top_k: So many context tokens count.
        temperature: Of their weights.
        frames_per_forward: Images the backbone is given at a time.
        amp: ``'bf16'`` or ``'fp16'`` for a backbone in mixed precision.
        copy_first: Predict the first mask for every frame instead: what a method must beat.
        mean: Mean of red, green and blue, in 0..255; ImageNet's by default.
        std: Standard deviation of red, green and blue, in the same unit. DINO's evaluation divides red by 0.228 * 255,
            not by the usual 0.229 * 255.
        init_cfg: MMEngine's.
    """

    def __init__(self, backbone: dict, context_frames: NonNegativeInt | Annotated[Sequence[NonNegativeInt], NonEmpty] = 7,
                 radius: NonNegativeInt | None = 12, top_k: PositiveInt = 5, temperature: Positive = 0.1,
                 frames_per_forward: PositiveInt = 8, amp: Literal[tuple(PRECISIONS)] | None = None, copy_first: bool = False,
                 mean: tuple[float, float, float] = (123.675, 116.28, 103.53),
                 std: tuple[Positive, Positive, Positive] = (58.14, 57.12, 57.375), init_cfg: dict | None = None):
        super().__init__(backbone, dict(type='mmdssl.ViewsPreprocessor', mean=mean, std=std), init_cfg)
        self.context_frames = context_frames
        self.options = dict(radius=radius, top_k=top_k, temperature=temperature)
        self.frames_per_forward = frames_per_forward
        self.amp = amp
        self.copy_first = copy_first

    def predict_sample(self, sample: dict) -> dict:
        """``masks`` of a sequence of :class:`mmdssl.datasets.DAVIS`, see :meth:`predict`, and the ``seconds`` it took."""
        start = time.perf_counter()
        masks = self.predict(sample['frames'], sample['first_mask'].numpy())
        return dict(masks=masks, seconds=time.perf_counter() - start)

    @torch.no_grad()
    def predict(self, frames: Tensor, first_mask: np.ndarray) -> dict[str, np.ndarray]:
        """Masks of a video.

        Args:
            frames: ``(T, 3, h, w)`` uint8 RGB.
            first_mask: Ids ``(H, W)`` uint8 of the first frame.

        Returns:
            Ids ``(T, H, W)`` uint8, those of the first frame as given, under the name ``''``, or, where
            ``context_frames`` has several numbers n, one such under each name ``f'context{n}'``.
        """
        if self.copy_first:
            return {'': np.broadcast_to(first_mask, (len(frames), *first_mask.shape))}
        features = self.features(frames)
        first = tokens_of_mask(first_mask, features.shape[-2:]).to(features.device)
        single = isinstance(self.context_frames, int)
        predictions = {}
        for number in (self.context_frames, ) if single else self.context_frames:
            with torch.autocast(features.device.type, enabled=False):  # also where test_cfg.fp16 is set
                labels = propagate(features, first, number, **self.options)
            masks = masks_of_labels(labels, frames.shape[-2:], first_mask.shape)
            masks[0] = first_mask
            predictions['' if single else f'context{number}'] = masks
        return predictions

    def features(self, frames: Tensor) -> Tensor:
        """L2-normalised features ``(T, D, h, w)`` fp32 of frames ``(T, 3, H, W)`` uint8, on this model's device."""
        features = []
        for some in frames.split(self.frames_per_forward):
            images = self.data_preprocessor.normalise(some)
            with torch.autocast(images.device.type, PRECISIONS.get(self.amp), enabled=self.amp is not None):
                maps = self.backbone(images)
            features.append(F.normalize((maps if isinstance(maps, Tensor) else maps[-1]).float(), dim=1))
        features = torch.cat(features)
        (height, width), (rows, columns) = frames.shape[-2:], features.shape[-2:]
        if height % rows or width % columns or height // rows != width // columns:
            raise InputError(f'the backbone makes {rows} x {columns} features of frames of {height} x {width} pixels, '
                             'which is no whole number of pixels each: set short_side and long_side_step of the data '
                             "to multiples of the backbone's stride")
        return features


@torch.no_grad()
def propagate(features: Tensor, first: Tensor, context_frames: int = 7, radius: int | None = 12, top_k: int = 5,
              temperature: float = 0.1) -> Tensor:
    """Soft labels of every frame from the labels of the first.

    A token takes the mean of the labels of similar tokens, weighted by ``exp(cosine / temperature)``. They are looked
    for in its context: the first frame and the frames just before, with the labels that those were given.

    Args:
        features: ``(T, D, h, w)``, L2-normalised along D.
        first: Ids ``(h, w)`` of the first frame's tokens.
        context_frames: Number of frames just before the target that are context, besides the first.
        radius: Context tokens are at most so many rows and columns away; None for no limit.
        top_k: So many tokens of the whole context count, and those that are as similar as the last of them.
        temperature: Of the weights.

    Returns:
        ``(T, C, h, w)``, sum 1 over the ``C = first.max() + 1`` ids; that of the first frame is one-hot.
    """
    tokens = features.permute(0, 2, 3, 1).contiguous()
    onehot = F.one_hot(first.long()).to(tokens)
    labels = onehot.new_zeros(len(tokens), *onehot.shape)
    labels[0] = onehot
    tiles = _tiles(*first.shape, max(first.shape) if radius is None else radius, tokens.device)
    for t in range(1, len(tokens)):
        context = torch.tensor([0, *range(max(1, t - context_frames), t)], device=tokens.device)
        for tile, near, far in tiles:
            around = (context, *near)
            labels[t][tile] = _carry(tokens[t][tile], tokens[around], labels[around], far, top_k, temperature)
    return labels.permute(0, 3, 1, 2)


def _tiles(height: int, width: int, radius: int, device: torch.device) -> list[tuple[tuple, tuple, Tensor]]:
    """Tiles that cover a grid: the rows and columns of each, those around it, and which tokens are too far from which.

    The last is ``(tokens of the tile, tokens around)``. Small tiles have few around them that are too far.
    """
    return [((rows, columns), (near_rows, near_columns),
             (far_rows[:, None, :, None] | far_columns[:, None]).flatten(2).flatten(0, 1))
            for rows, near_rows, far_rows in _stretches(height, radius, device)
            for columns, near_columns, far_columns in _stretches(width, radius, device)]


def _stretches(length: int, radius: int, device: torch.device) -> Iterator[tuple[slice, slice, Tensor]]:
    """One side of the tiles: the same three things along rows, or along columns."""
    index = torch.arange(length, device=device)
    for start in range(0, length, TILE):
        place, near = slice(start, start + TILE), slice(max(start - radius, 0), start + TILE + radius)
        yield place, near, (index[place, None] - index[near]).abs() > radius


def _carry(targets: Tensor, sources: Tensor, labels: Tensor, far: Tensor, top_k: int, temperature: float) -> Tensor:
    """Labels ``(a, b, C)`` of a tile's targets ``(a, b, D)``, from those of n frames' sources ``(n, c, d, D)``."""
    cosines = (targets.flatten(0, 1) @ sources.flatten(1, 2).mT).masked_fill_(far, -torch.inf)
    # the best of all frames are among the best of each
    best = cosines.topk(min(top_k, cosines.shape[2]), dim=2).values.transpose(0, 1).flatten(1)
    best = best.topk(min(top_k, best.shape[1]), dim=1).values
    highest, lowest = best[:, :1], best[:, -1:]
    # less the highest, against overflow: it cancels in the mean
    weights = cosines.masked_fill_(cosines < lowest, -torch.inf).sub_(highest).div_(temperature).exp_()
    carried = (weights @ labels.flatten(1, 2)).sum(0) / weights.sum((0, 2))[:, None]
    return carried.view(*targets.shape[:2], -1)


def tokens_of_mask(mask: np.ndarray, grid: tuple[int, int]) -> Tensor:
    """Ids ``(H, W)`` uint8 of pixels to ids of a grid of tokens, by nearest neighbour; void becomes background."""
    return torch.from_numpy(_resize(np.where(mask == VOID, 0, mask), grid).astype(np.int64))


@torch.no_grad()
def masks_of_labels(labels: Tensor, size: tuple[int, int], original: tuple[int, int]) -> np.ndarray:
    """Soft labels to masks: each id's map is stretched to [0, 1], then the highest id of each pixel wins.

    A map that is the same everywhere, such as that of the background once all objects are lost, is not stretched.

    Args:
        labels: ``(T, C, h, w)``.
        size: Height and width the network saw, where ids are compared.
        original: Height and width ``(H, W)`` of the video.

    Returns:
        ``(T, H, W)`` uint8.
    """
    masks = np.empty((len(labels), *original), np.uint8)
    for mask, maps in zip(masks, labels):
        maps = F.interpolate(maps[None], size=size, mode='bilinear', align_corners=False)[0]
        low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
        stretched = torch.where(high > low, (maps - low) / (high - low), maps)
        mask[:] = _resize(stretched.argmax(0).byte().cpu().numpy(), original)
    return masks


def _resize(ids: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.array(Image.fromarray(ids).resize(size[::-1], Image.Resampling.NEAREST))
