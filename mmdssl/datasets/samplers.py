"""The order in which samples are drawn."""
from __future__ import annotations

from collections.abc import Iterator, Sized
from itertools import repeat

import numpy as np
from mmengine.dist import get_dist_info
from torch.utils.data import Sampler

from mmdssl.errors import InputError
from mmdssl.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class EpochSampler(Sampler):
    """Sample keys ``(epoch, index)``: every image at most once per epoch, the same number on each rank.

    Rank r of W takes the positions r, r + W, r + 2W ... of the epoch's order, so that all ranks together see in step t
    what one process with the whole batch would see. The tail that does not fill all ranks, or a whole batch, is
    dropped: nothing is repeated.

    Args:
        dataset: Its length is what is used.
        shuffle: Draw a new order in each epoch, from ``(seed, epoch)`` alone.
        seed: Non-negative, the same on all ranks. None, which MMEngine gives where ranks have seeds of their own, is 0.
        batch_size: Images of one step over all ranks. None leaves whole batches to the loader's ``drop_last``.

    Raises:
        InputError: The data set is smaller than one batch, or the batch cannot be shared equally by the ranks.
    """

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: int | None = 0, batch_size: int | None = None):
        self.rank, self.world_size = get_dist_info()
        batch_size = batch_size or self.world_size
        if batch_size % self.world_size:
            raise InputError(f'a batch of {batch_size} images cannot be shared equally by {self.world_size} processes: '
                             f'make batch_size a multiple of {self.world_size}')
        if len(dataset) < batch_size:
            raise InputError(f'the data set has {len(dataset)} images, fewer than one batch of {batch_size}: lower the '
                             'batch size or add images')
        self.size = len(dataset)
        self.used = self.size - self.size % batch_size
        self.shuffle = shuffle
        self.seed = seed or 0
        self.epoch = 0
        self._skipped = 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.arange(self.size)
        if self.shuffle:
            np.random.default_rng((self.seed, self.epoch)).shuffle(order)
        start, self._skipped = self._skipped, 0
        return zip(repeat(self.epoch), order[self.rank:self.used:self.world_size][start:].tolist())

    def __len__(self) -> int:
        """Samples of this rank in a whole epoch."""
        return self.used // self.world_size

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def skip(self, num_samples: int) -> None:
        """Begin the next iteration, and only that, after so many samples of this rank, without decoding them."""
        self._skipped = num_samples
