"""Labels of the first frame of a video, carried through it by the similarity of features.

Jabri et al., "Space-Time Correspondence as a Contrastive Random Walk", NeurIPS 2020, in the form DINO evaluates with.
"""
from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from mmdssl.arguments import NonEmpty, NonNegative, NonNegativeInt, Positive, PositiveInt
from mmdssl.datasets.palette import VOID
from mmdssl.errors import InputError
from mmdssl.protocols.frozen import FrozenBackbone
from mmdssl.registry import MODELS

TILE = 8
PRECISIONS = dict(bf16=torch.bfloat16, fp16=torch.float16)
Neighbourhood = Literal['square', 'circle']


class LabelPropagation(FrozenBackbone):
    """Carries labels of a video's first frame through it, by the similarity of a backbone's features.

    See :func:`propagate`. Nothing is trained. A subclass makes labels of what is given, and predictions of labels.

    Args:
        backbone: Config of a network that gives feature maps ``(B, D, h, w)`` of images ``(B, 3, H, W)``; the last map
            is used. Its stride must divide the images.
        context_frames: Number of frames before the current one that are context, besides the first; several numbers are
            evaluated one after another on the same features.
        radius: Context tokens are at most so far away; None for no limit.
        top_k: So many context tokens count.
        temperature: Of their weights.
        neighbourhood: See :func:`propagate`.
        first_everywhere: See there.
        repeat_first: See there.
        frames_per_forward: Images the backbone is given at a time.
        amp: ``'bf16'`` or ``'fp16'`` for a backbone in mixed precision.
        copy_first: Predict what is given of the first frame for every frame instead: what a method must beat.
        mean: Mean of red, green and blue, in 0..255; ImageNet's by default.
        std: Standard deviation of red, green and blue, in the same unit. DINO's evaluation divides red by 0.228 * 255,
            not by the usual 0.229 * 255.
        init_cfg: MMEngine's.
    """

    def __init__(self, backbone: dict, context_frames: NonNegativeInt | Annotated[Sequence[NonNegativeInt], NonEmpty] = 7,
                 radius: NonNegative | None = 12, top_k: PositiveInt = 5, temperature: Positive = 0.1,
                 neighbourhood: Neighbourhood = 'square', first_everywhere: bool = False, repeat_first: bool = False,
                 frames_per_forward: PositiveInt = 8, amp: Literal[tuple(PRECISIONS)] | None = None, copy_first: bool = False,
                 mean: tuple[float, float, float] = (123.675, 116.28, 103.53),
                 std: tuple[Positive, Positive, Positive] = (58.14, 57.12, 57.375), init_cfg: dict | None = None):
        super().__init__(backbone, dict(type='mmdssl.ViewsPreprocessor', mean=mean, std=std), init_cfg)
        self.context_frames = context_frames
        self.options = dict(radius=radius, top_k=top_k, temperature=temperature, neighbourhood=neighbourhood,
                            first_everywhere=first_everywhere, repeat_first=repeat_first)
        self.frames_per_forward = frames_per_forward
        self.amp = amp
        self.copy_first = copy_first

    def carry(self, features: Tensor, first: Tensor, later: Mapping[int, Tensor] | None = None) -> Iterator[tuple[str, Tensor]]:
        """:func:`propagate` with each number of context frames.

        Yields:
            The name of a prediction, ``''``, or, where ``context_frames`` has several numbers n, ``f'context{n}'``, and its labels.
        """
        single = isinstance(self.context_frames, int)
        for number in (self.context_frames, ) if single else self.context_frames:
            with torch.autocast(features.device.type, enabled=False):  # also where test_cfg.fp16 is set
                labels = propagate(features, first, number, **self.options, later=later)
            yield '' if single else f'context{number}', labels

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


@MODELS.register_module()
class MaskPropagation(LabelPropagation):
    """Carries the mask of a video's first frame through it, and objects that appear later from there on.

    Args:
        backbone: See :class:`LabelPropagation`, which has more arguments.
        rules: How masks become labels of tokens, and labels masks; published evaluations differ in it.

            - ``'dino'``: the mask at the grid's size by nearest neighbour; maps of labels are brought to the size of the frames
              bilinearly, and each is stretched to [0, 1] before the highest wins, see :func:`masks_of_labels`.
            - ``'dinov3'``: the same, but maps are brought to the size of the masks, by nearest neighbour.
            - ``'crw'``: the map of each id at the grid's size by bilinear interpolation, so that labels are soft; maps are not stretched.
        keep_first: The mask of the first frame is as it was given, not what the grid holds of it.
        **kwargs: Of :class:`LabelPropagation`.
    """

    def __init__(self, backbone: dict, rules: Literal['dino', 'dinov3', 'crw'] = 'dino', keep_first: bool = True, **kwargs):
        super().__init__(backbone, **kwargs)
        self.rules = rules
        self.keep_first = keep_first

    def predict_sample(self, sample: dict) -> dict:
        """``masks`` of a sequence such as those of :class:`mmdssl.datasets.DAVIS`, see :meth:`predict`, and the ``seconds`` it took."""
        start = time.perf_counter()
        masks = self.predict(sample['frames'], sample['first_mask'].numpy(), sample.get('later_masks'))
        return dict(masks=masks, seconds=time.perf_counter() - start)

    @torch.no_grad()
    def predict(self, frames: Tensor, first_mask: np.ndarray, later_masks: Mapping[int, np.ndarray] | None = None) -> dict[str, np.ndarray]:
        """Masks of a video.

        Args:
            frames: ``(T, 3, h, w)`` uint8 RGB.
            first_mask: Ids ``(H, W)`` uint8 of the first frame.
            later_masks: The same of frames, by number, where objects appear that were not there before. What they have of other
                objects is passed over.

        Returns:
            Ids ``(T, H, W)`` uint8, those of the first frame and of new objects in their first as given, by the names of :meth:`carry`.
        """
        new = _new_objects(first_mask, later_masks or {})
        if self.copy_first:
            masks = np.repeat(np.where(first_mask == VOID, 0, first_mask)[None], len(frames), axis=0)
            for t, mask in new.items():
                masks[t:, (mask > 0) & (mask != VOID)] = mask[(mask > 0) & (mask != VOID)]
            return {'': masks}
        features = self.features(frames)
        classes = 1 + max(int(np.where(mask == VOID, 0, mask).max(initial=0)) for mask in (first_mask, *new.values()))
        first = self._labels(first_mask, classes, features, frames.shape[-2:])
        later = {t: self._labels(mask, classes, features, frames.shape[-2:]) for t, mask in new.items()}
        for labels in later.values():
            labels[0] = 0  # what is no new object is as it was
        predictions = {}
        for name, labels in self.carry(features, first, later):
            if self.rules == 'dinov3':
                masks = masks_of_labels(labels, first_mask.shape, first_mask.shape, mode='nearest')
            else:
                masks = masks_of_labels(labels, frames.shape[-2:], first_mask.shape, stretch=self.rules == 'dino')
            if self.keep_first:
                masks[0] = first_mask
            for t, mask in new.items():
                masks[t][mask > 0] = mask[mask > 0]
            predictions[name] = masks
        return predictions

    def _labels(self, mask: np.ndarray, classes: int, features: Tensor, size: tuple[int, int]) -> Tensor:
        """Maps ``(classes, h, w)`` of a mask on the grid of the features."""
        grid = size if self.rules == 'crw' else features.shape[-2:]
        maps = F.one_hot(tokens_of_mask(mask, grid).to(features.device), classes).permute(2, 0, 1).to(features)
        return F.interpolate(maps[None], features.shape[-2:], mode='bilinear')[0] if self.rules == 'crw' else maps


def _new_objects(first: np.ndarray, later: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
    """Later masks, in their order, with nothing but the objects that no earlier mask has; those that have none are left out."""
    known, found = {0, VOID, *np.unique(first).tolist()}, {}
    for t, mask in sorted(later.items()):
        new = np.where(np.isin(mask, [*known]), 0, mask)
        known.update(np.unique(new).tolist())
        if new.any():
            found[t] = new
    return found


@torch.no_grad()
def propagate(features: Tensor, first: Tensor, context_frames: int = 7, radius: float | None = 12, top_k: int = 5,
              temperature: float = 0.1, neighbourhood: Neighbourhood = 'square', first_everywhere: bool = False,
              repeat_first: bool = False, later: Mapping[int, Tensor] | None = None) -> Tensor:
    """Soft labels of every frame from the labels of the first.

    A token takes the mean of the labels of similar tokens, weighted by ``exp(cosine / temperature)``. They are looked
    for in its context: the first frame and the frames just before, with the labels that those were given.

    Args:
        features: ``(T, D, h, w)``, L2-normalised along D.
        first: Ids ``(h, w)`` of the first frame's tokens, or soft labels ``(C, h, w)``, such as heat maps.
        context_frames: Number of frames just before the target that are context, besides the first.
        radius: Context tokens are at most so far away; None for no limit.
        top_k: So many tokens of the whole context count, and those that are as similar as the last of them.
        temperature: Of the weights.
        neighbourhood: Within the radius are, ``'square'``, rows and columns, or, ``'circle'``, distances.
        first_everywhere: The radius does not limit the first frame.
        repeat_first: The first frame takes the places in the context of those before it, so that it is there several times, and once more
            as itself, as in the public code of CRW.
        later: Maps ``(C, h, w)`` of objects that appear later, by number of the frame: they take their share of the labels that are
            carried there, and the frame is from then on context as the first one is.

    Returns:
        ``(T, C, h, w)``. Of ids, it sums to 1 over the ``C = first.max() + 1`` ids, and that of the first frame is one-hot.
    """
    tokens = features.permute(0, 2, 3, 1).contiguous()
    given = (F.one_hot(first.long()) if first.dim() == 2 else first.permute(1, 2, 0)).to(tokens)
    labels = given.new_zeros(len(tokens), *given.shape)
    labels[0] = given
    later = {t: maps.permute(1, 2, 0).to(tokens) for t, maps in (later or {}).items()}
    tiles = _tiles(*given.shape[:2], math.inf if radius is None else radius, neighbourhood, first_everywhere, tokens.device)
    for t in range(1, len(tokens)):
        anchors = [0, *(s for s in later if s < t)]
        before = [max(s, 0) for s in range(t - context_frames, t) if s not in later and (repeat_first or s > 0)]
        context = torch.tensor([*anchors, *before], device=tokens.device)
        for tile, near, far in tiles:
            around = (context, *near)
            if first_everywhere:
                far = far.repeat(len(context), 1, 1)
                far[:len(anchors)] = False
            labels[t][tile] = _carry(tokens[t][tile], tokens[around], labels[around], far, top_k, temperature)
        if t in later:
            labels[t] = labels[t] * (1 - later[t].sum(-1, keepdim=True)) + later[t]
    return labels.permute(0, 3, 1, 2)


def _tiles(height: int, width: int, radius: float, neighbourhood: Neighbourhood, whole: bool,
           device: torch.device) -> list[tuple[tuple, tuple, Tensor]]:
    """Tiles that cover a grid: the rows and columns of each, those around it, and which tokens are too far from which.

    The last is ``(tokens of the tile, tokens around)``. Small tiles have few around them that are too far. With ``whole``, all of the
    grid is around.
    """
    reach = max(height, width) if whole or math.isinf(radius) else int(radius)
    outside = dict(square=lambda dy, dx: torch.maximum(dy, dx) > radius, circle=lambda dy, dx: dy**2 + dx**2 > radius**2)[neighbourhood]
    return [((rows, columns), (near_rows, near_columns),
             outside(row_steps[:, None, :, None], column_steps[:, None]).flatten(2).flatten(0, 1))
            for rows, near_rows, row_steps in _stretches(height, reach, device)
            for columns, near_columns, column_steps in _stretches(width, reach, device)]


def _stretches(length: int, reach: int, device: torch.device) -> Iterator[tuple[slice, slice, Tensor]]:
    """One side of the tiles: rows of the tile, those around, and the steps between, or the same of columns."""
    index = torch.arange(length, device=device)
    for start in range(0, length, TILE):
        place, near = slice(start, start + TILE), slice(max(start - reach, 0), start + TILE + reach)
        yield place, near, (index[place, None] - index[near]).abs()


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
def masks_of_labels(labels: Tensor, size: tuple[int, int], original: tuple[int, int], stretch: bool = True,
                    mode: Literal['bilinear', 'nearest'] = 'bilinear') -> np.ndarray:
    """Soft labels to masks: each id's map is stretched to [0, 1], then the highest id of each pixel wins.

    A map that is the same everywhere, such as that of the background once all objects are lost, is not stretched.

    Args:
        labels: ``(T, C, h, w)``.
        size: Height and width the network saw, where ids are compared.
        original: Height and width ``(H, W)`` of the video.
        stretch: False to compare maps as they are.
        mode: How maps are brought to ``size``.

    Returns:
        ``(T, H, W)`` uint8.
    """
    masks = np.empty((len(labels), *original), np.uint8)
    for mask, maps in zip(masks, labels):
        maps = F.interpolate(maps[None], size=size, mode=mode)[0]
        if stretch:
            low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
            maps = torch.where(high > low, (maps - low) / (high - low), maps)
        mask[:] = _resize(maps.argmax(0).byte().cpu().numpy(), original)
    return masks


def _resize(ids: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.array(Image.fromarray(ids).resize(size[::-1], Image.Resampling.NEAREST))
