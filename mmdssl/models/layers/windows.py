"""Attention within windows, for images too large for every patch to read every other."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


class Windows:
    """Cuts a sequence into square windows, each with its copy of the prefix (class token and registers).

    Args:
        grid: Patches ``(h, w)`` of the image; the windows at its right and lower border may be partly empty.
        size: Side of a window in patches.
        device: Where the sequences are.
    """

    def __init__(self, grid: tuple[int, int], size: int, device: torch.device | None = None):
        self.grid = grid
        self.size = size
        self.padding = [(-side) % size for side in grid]
        self.inside = self._cut(torch.ones(1, *grid, 1, device=device)).squeeze(-1) > 0  # (windows, size**2)

    def split(self, x: Tensor, num_prefix: int) -> Tensor:
        """``(B, prefix + h*w, D)`` to ``(B*windows, prefix + size**2, D)``."""
        prefix, patches = x[:, :num_prefix], x[:, num_prefix:].unflatten(1, self.grid)
        return torch.cat([prefix.repeat_interleave(len(self.inside), dim=0), self._cut(patches)], dim=1)

    def readable(self, batch: int, num_prefix: int) -> Tensor:
        """Which keys of a window are really there, ``(B*windows, 1, 1, prefix + size**2)``."""
        return F.pad(self.inside, (num_prefix, 0), value=True).repeat(batch, 1)[:, None, None]

    def split_rotation(self, rotation: Tensor, batch: int) -> Tensor:
        """Angles of a grid ``(2, h*w, D)`` to those of its windows, ``(2, B*windows, 1, size**2, D)``."""
        return self._cut(rotation.unflatten(1, self.grid)).unflatten(0, (2, -1)).repeat(1, batch, 1, 1).unsqueeze(2)

    def merge(self, x: Tensor, num_prefix: int) -> Tensor:
        """The inverse of :meth:`split`; the prefix is the mean over the windows."""
        x = x.unflatten(0, (-1, len(self.inside)))
        prefix, patches = x[:, :, :num_prefix].mean(dim=1), x[:, :, num_prefix:]
        rows = (self.grid[0] + self.padding[0]) // self.size
        patches = patches.unflatten(2, (self.size, self.size)).unflatten(1, (rows, -1))  # (B, rows, columns, size, size, D)
        patches = patches.transpose(2, 3).flatten(3, 4).flatten(1, 2)[:, :self.grid[0], :self.grid[1]]
        return torch.cat([prefix, patches.flatten(1, 2)], dim=1)

    def _cut(self, maps: Tensor) -> Tensor:
        """``(B, h, w, D)`` to ``(B*windows, size**2, D)``."""
        maps = F.pad(maps, (0, 0, 0, self.padding[1], 0, self.padding[0]))
        maps = maps.unflatten(2, (-1, self.size)).unflatten(1, (-1, self.size))
        return maps.transpose(2, 3).flatten(0, 2).flatten(1, 2)
