"""Features of the patches of images with masks, batch by batch, as often as a protocol wants them."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from mmengine.dist import all_reduce, get_dist_info
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from mmdssl.datasets.images import image_names
from mmdssl.datasets.labelled_folder import UNREADABLE
from mmdssl.errors import InputError
from mmdssl.protocols.features import Extractor, Features, batches_of, read, warn_of_unreadable


class PatchBatch(NamedTuple):
    """Some images.

    Attributes:
        index: ``(B,)``, positions in the data set.
        values: Features ``(B, N, D)`` fp32 of the patches, row by row, not normalised.
        masks: Classes ``(B, S, S)`` uint8 of the pixels, 255 for what is not counted.
        grid: Rows and columns of patches, ``N`` in all.
    """
    index: Tensor
    values: Tensor
    masks: Tensor
    grid: tuple[int, int]


class PatchFeatures:
    """This process's share of the patches of a data set, in batches; each iteration goes through all of it again.

    Images that cannot be decoded are left out, and those that a sampler gives to two processes are in the share of the first. The
    number of batches may differ between processes.

    Args:
        backbone: The network, in eval mode.
        dataloader: Of a data set as :class:`mmdssl.datasets.SegmentedImages`, in an order that does not change.
        extractor: What to read, patches.
        normalise: Makes of images ``(B, 3, H, W)`` uint8 what the backbone takes.
        amp: ``'bf16'`` or ``'fp16'`` for a backbone in mixed precision.
        kept: What the network gives, where it was computed before; else it runs in each iteration.

    Attributes:
        classes: Names of the classes.
        names: Of all images of the data set, on all processes; its length is that of this object.
        share: Images of this process; fewer come where some cannot be decoded.
        dataset: The data set.
        device: That of the backbone.

    Raises:
        InputError: The data set has no masks; or in an iteration: the images are not of whole patches.
    """

    def __init__(self, backbone: nn.Module, dataloader: DataLoader, extractor: Extractor, normalise: Callable[[Tensor], Tensor],
                 amp: str | None = None, kept: Features | None = None):
        self.dataset = dataloader.dataset
        if not hasattr(self.dataset, 'read_mask'):
            raise InputError(f'patches are measured by the masks of their images, and {type(self.dataset).__name__} has none: take a '
                             'SegmentedImages')
        self.backbone, self.dataloader, self.extractor, self.normalise, self.amp = backbone, dataloader, extractor, normalise, amp
        self.kept = kept
        self.classes: list[str] = self.dataset.classes
        self.names = [name.lstrip('/') for name in image_names(self.dataset)]
        self.device = next(backbone.parameters()).device
        self._undecoded = torch.zeros(len(self), dtype=torch.int, device=self.device)
        if kept is None:
            self._mine = self._shared_out()
            self.share = int(self._mine.sum())
        else:
            rank, processes = get_dist_info()
            self._rows = range(rank, len(kept), processes)
            self.share = len(self._rows)

    def __len__(self) -> int:
        """Images of the data set, on all processes, also those that cannot be decoded."""
        return len(self.names)

    def __iter__(self) -> Iterator[PatchBatch]:
        for index, values, masks in self._computed() if self.kept is None else self._kept():
            if len(index):
                yield PatchBatch(index, values, masks, square_grid(self.backbone, values.shape[1], masks.shape[-1]))

    def warn_of_unreadable(self) -> None:
        """Name the images that were left out in what was read so far; to be called by all processes.

        Raises:
            InputError: None could be decoded.
        """
        if self.kept is None:  # else it was said when they were computed
            lost = self._undecoded.clone()
            all_reduce(lost)
            warn_of_unreadable(self.dataset, [name for name, times in zip(self.names, lost.tolist()) if not times])

    def _computed(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for batch in batches_of(self.dataloader):
            index = batch['index'].to(self.device)
            readable = batch['label'].to(self.device) != UNREADABLE
            self._undecoded[index[~readable]] = 1
            counted = readable & self._mine[index]
            with torch.no_grad():
                values = read(self.backbone, batch['image'], self.extractor, self.normalise, self.amp)
            yield index[counted], values[counted], batch['mask'].to(self.device)[counted]

    def _shared_out(self) -> Tensor:
        """Which images ``(n,)`` this process counts: those of its sampler that no process before it has."""
        rank, processes = get_dist_info()
        owner = torch.full((len(self), ), processes, device=self.device)
        owner[list(self.dataloader.sampler)] = rank
        all_reduce(owner, 'min')
        return owner == rank

    def _kept(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Rows of the file, whose images need not be decoded again, and masks."""
        known = set(self.kept.names)
        position = [index for index, name in enumerate(self.names) if name in known]
        loader = DataLoader(Subset(_Masks(self.dataset), [position[row] for row in self._rows]), self.dataloader.batch_size,
                            num_workers=self.dataloader.num_workers)
        done = 0
        for index, masks in loader:
            some = list(self._rows[done:done + len(index)])
            done += len(index)
            yield index.to(self.device), self.kept.values[some].to(self.device), masks.to(self.device)


def square_grid(backbone: nn.Module, number: int, size: int) -> tuple[int, int]:
    """Rows and columns of so many patches of images of ``size`` x ``size``.

    Raises:
        InputError: The images are not of whole patches.
    """
    side, patch = round(number**0.5), getattr(backbone, 'patch_size', 1)
    if side**2 != number or size % patch or size % side:
        raise InputError(f'images of {size} px are not of whole patches of {patch} px ({number} of them): set size of both data sets '
                         f'to a multiple of {patch}')
    return side, side


class _Masks(Dataset):
    """Positions and masks, without images."""

    def __init__(self, dataset: Dataset):
        self.dataset = dataset

    def __getitem__(self, index: int) -> tuple[int, Tensor]:
        return index, self.dataset.read_mask(index)
