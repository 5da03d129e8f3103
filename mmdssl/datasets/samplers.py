"""The order in which samples are drawn."""
from __future__ import annotations

from collections.abc import Iterator, Sized
from itertools import count, repeat

import numpy as np
from mmengine.dist import get_dist_info
from torch.utils.data import Sampler

from mmdssl.arguments import NonNegativeInt, PositiveInt
from mmdssl.errors import InputError
from mmdssl.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class EpochSampler(Sampler):
    """Sample keys ``(seed, epoch, index)``: every image at most once per epoch, the same number on each rank.

    Rank r of W takes the positions r, r + W, r + 2W ... of the epoch's order, so that all ranks together see in step t
    what one process with the whole batch would see. The tail that does not fill all ranks is dropped, as the loader's
    ``drop_last`` drops what fills no batch: nothing is repeated.

    With ``repeats``, an epoch has as many samples, but of only that share of the images: each comes so many times in a row, on as many
    ranks as there are, in views of its own (repeated augmentation, Hoffer et al., 2020; DeiT has 3). Keys are then ``(seed, epoch,
    index, copy)``.

    Args:
        dataset: Its length is what is used.
        shuffle: Draw a new order in each epoch, from the seed and the epoch alone.
        seed: Non-negative, the same on all ranks; MMEngine gives ``randomness.seed``, or None, which is 0, where ranks have
            seeds of their own.
        repeats: How often an image comes in an epoch, if it does.
    """

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: NonNegativeInt | None = 0, repeats: PositiveInt = 1):
        self.rank, self.world_size = get_dist_info()
        self.size = len(dataset)
        self.used = self.size - self.size % self.world_size
        self.shuffle = shuffle
        self.repeats = repeats
        self.seed = seed or 0
        self.epoch = 0
        self._skipped = 0

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        order = np.arange(self.size)
        if self.shuffle:
            np.random.default_rng((self.seed, self.epoch)).shuffle(order)
        start, self._skipped = self._skipped, 0
        columns = [order] if self.repeats == 1 else [order.repeat(self.repeats)[:self.size], np.arange(self.size) % self.repeats]
        mine = (column[self.rank:self.used:self.world_size][start:].tolist() for column in columns)
        return zip(repeat(self.seed), repeat(self.epoch), *mine)

    def __len__(self) -> int:
        """Samples of this rank in a whole epoch."""
        return self.used // self.world_size

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def skip(self, num_samples: int) -> None:
        """Begin the next iteration, and only that, after so many samples of this rank, without decoding them."""
        self._skipped = num_samples


@DATA_SAMPLERS.register_module()
class EndlessSampler(EpochSampler):
    """The sample keys of :class:`EpochSampler`, epoch after epoch without an end: for MMEngine's loop over iterations.

    Raises:
        InputError: When it begins: there are fewer images than processes.
    """

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        if not len(self):
            raise InputError(f'the training data has {self.size} images, fewer than the {self.world_size} processes: add images')
        whole, self._skipped = divmod(self._skipped, len(self))
        for epoch in count(self.epoch + whole):
            self.epoch = epoch
            yield from super().__iter__()
