"""Views: the augmented crops of a batch of images, in named groups."""
from __future__ import annotations

from collections.abc import ItemsView, Iterator, Sequence, ValuesView
from dataclasses import dataclass, field, fields, replace

import torch
from torch import Tensor


@dataclass
class ViewGroup:
    """V crops of equal size of each of B images.

    Attributes:
        images: Pixels, ``(V, B, 3, S, S)``; uint8 RGB from the loader, normalised floats after the data preprocessor.
        boxes: ``(V, B, 4)`` float32 ``(x, y, w, h)`` of each crop in pixels of the decoded image, edges continuous.
        flips: ``(V, B)`` bool, whether the crop was mirrored left to right after cropping.
        masks: ``(V, B, G, G)`` bool, True where a patch is masked; None where the group is not masked.
        mask_index: ``(M,)`` positions of the True entries of ``masks.flatten()``, made on the CPU because finding them on
            the device would wait for it.
        mask_weight: ``(M,)`` one over the number of masked patches in the same crop.
        keep_index: ``(V, B, n)`` positions in its crop of each patch that is not masked, where all crops have as many; else None.
        photometric: ``(V, B, K, 16)`` float32, what is still to be done to the colours, see
            :func:`mmdssl.datasets.transforms.photometric.adjust_on_device`; None for nothing, as after the data preprocessor.
    """
    images: Tensor
    boxes: Tensor
    flips: Tensor
    masks: Tensor | None = None
    mask_index: Tensor | None = None
    mask_weight: Tensor | None = None
    keep_index: Tensor | None = None
    photometric: Tensor | None = None

    @staticmethod
    def collate(samples: Sequence[ViewGroup]) -> ViewGroup:
        """Stack groups of one image each, fields ``(V, ...)``, to fields ``(V, B, ...)``."""
        def stack(name):
            return torch.stack([getattr(sample, name) for sample in samples], dim=1)

        group = ViewGroup(stack('images'), stack('boxes'), stack('flips'))
        if samples[0].photometric is not None:
            group.photometric = stack('photometric')
        if samples[0].masks is not None:
            group.masks = stack('masks')
            group.mask_index = group.masks.flatten().nonzero().squeeze(1)
            counts = group.masks.flatten(2).sum(-1, keepdim=True)
            weights = (1 / counts.clamp(min=1)).expand(*group.masks.shape[:2], group.masks[0, 0].numel())
            group.mask_weight = weights.flatten()[group.mask_index]
            if counts.min() == counts.max():
                kept = (~group.masks.flatten(2)).nonzero()[:, 2]
                group.keep_index = kept.view(*counts.shape[:2], group.masks[0, 0].numel() - int(counts.max()))
        return group

    def apply(self, function) -> ViewGroup:
        """A copy in which ``function`` was applied to every tensor."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: function(value) for name, value in tensors.items() if value is not None})


@dataclass
class Views:
    """The views of a batch: ``views['global']``, ``views['local']``, ``views['query']``.

    No ``Mapping``, though it reads like one: PyTorch up to about 2.10 pins a ``Mapping`` into a plain dict, and
    never asks it for its own ``pin_memory``.

    Attributes:
        groups: The groups by name.
        indices: ``(B,)`` position of each image in its dataset.
        skipped: Paths of the files that could not be decoded while this batch was made, whose places other images took.
        labels: ``(B,)`` class of each image, where the source of images knows it; else None.
    """
    groups: dict[str, ViewGroup]
    indices: Tensor
    skipped: list[str] = field(default_factory=list)
    labels: Tensor | None = None

    @staticmethod
    def collate(samples: Sequence[Views]) -> Views:
        """Collate the views of single images (group fields ``(V, ...)``, a scalar index) to a batch."""
        groups = {name: ViewGroup.collate([sample[name] for sample in samples]) for name in samples[0]}
        skipped = [path for sample in samples for path in sample.skipped]
        labels = None if samples[0].labels is None else torch.stack([sample.labels for sample in samples])
        return Views(groups, torch.stack([sample.indices for sample in samples]), skipped, labels)

    def apply(self, function) -> Views:
        """A copy in which ``function`` was applied to every tensor."""
        groups = {name: group.apply(function) for name, group in self.groups.items()}
        return Views(groups, function(self.indices), self.skipped, None if self.labels is None else function(self.labels))

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Views:
        return self.apply(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Views:
        return self.apply(Tensor.pin_memory)

    def __getitem__(self, name: str) -> ViewGroup:
        return self.groups[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.groups)

    def items(self) -> ItemsView[str, ViewGroup]:
        return self.groups.items()

    def values(self) -> ValuesView[ViewGroup]:
        return self.groups.values()
