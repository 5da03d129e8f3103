"""Patches that are made up."""
from __future__ import annotations

from types import SimpleNamespace

import torch
from mmengine.dist import get_dist_info
from torch import Tensor

from mmdssl.protocols.patches import PatchBatch


class FakePatches:
    """What protocols are given in place of :class:`mmdssl.protocols.patches.PatchFeatures`: in batches of three images."""
    device = torch.device('cpu')
    dataset = SimpleNamespace(data_root='nowhere')

    def __init__(self, values: Tensor, masks: Tensor, grid: tuple[int, int], num_classes: int, names: list[str] | None = None):
        self.values, self.masks, self.grid = values, masks, grid
        self.classes = [f'class{i}' for i in range(num_classes)]
        self.names = names or [f'{i}.png' for i in range(len(values))]

    def __len__(self) -> int:
        return len(self.values)

    def warn_of_unreadable(self) -> None:
        """All can be read."""

    def __iter__(self):
        rank, processes = get_dist_info()
        for some in torch.arange(len(self))[rank::processes].split(3):
            yield PatchBatch(some, self.values[some], self.masks[some], self.grid)


def random_masks(number: int, size: int, num_classes: int) -> Tensor:
    """Classes of blobs and some void, ``(number, size, size)`` uint8, less often of later classes."""
    coarse = torch.rand(number, 1, 5, 5).pow(2).mul(num_classes).floor()
    masks = torch.nn.functional.interpolate(coarse, (size, size), mode='nearest')[:, 0].to(torch.uint8)
    masks[:, :3, :5] = 255
    return masks


def perfect_values(masks: Tensor, patch: int, num_classes: int) -> Tensor:
    """Shares of classes in patches ``(B, N, num_classes)``, by a loop."""
    found = []
    for mask in masks:
        for top in range(0, mask.shape[0], patch):
            for left in range(0, mask.shape[1], patch):
                inside = mask[top:top + patch, left:left + patch]
                found.append(torch.tensor([(inside == number).float().mean() for number in range(num_classes)]))
    return torch.stack(found).view(len(masks), -1, num_classes)
