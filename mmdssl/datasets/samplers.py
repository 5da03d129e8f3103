"""The order in which samples are drawn."""
from __future__ import annotations

from collections.abc import Iterator, Sized
from itertools import chain, count, repeat

import numpy as np
from mmengine.dist import get_dist_info
from torch.utils.data import Sampler

from mmdssl.arguments import NonNegativeInt, PositiveInt
from mmdssl.errors import InputError
from mmdssl.registry import DATA_SAMPLERS

CHUNK = 4096  # keys that are made at a time


@DATA_SAMPLERS.register_module()
class EpochSampler(Sampler):
    """Sample keys ``(seed, epoch, index)``: every image at most once per epoch, the same number on each rank.

    Rank r of W takes the positions r, r + W, r + 2W ... of the epoch's order, so that all ranks together see in step t
    what one process with the whole batch would see. The tail that does not fill all ranks is dropped, as the loader's
    ``drop_last`` drops what fills no batch: nothing is repeated.

    With ``repeats``, an epoch has as many samples, but of only that share of the images: each comes so many times in a row, on as many
    ranks as there are, in views of its own (repeated augmentation, Hoffer et al., 2020; DeiT has 3). Keys are then ``(seed, epoch,
    index, copy)``.

    With ``shards_together``, the order suits a store from which near images come faster, such as tars on an object store: shards are
    shuffled, then the images of so many shards at a time among each other. A rank reads from so many shards at once, and as many processes
    as there may be still see together what one would.

    Args:
        dataset: Its length is what is used, and with ``shards_together`` its ``shard_sizes``.
        shuffle: Draw a new order in each epoch, from the seed and the epoch alone.
        seed: Non-negative, the same on all ranks; MMEngine gives ``randomness.seed``, or None, which is 0, where ranks have
            seeds of their own.
        repeats: How often an image comes in an epoch, if it does.
        shards_together: Among how many shards images are shuffled; None for all images of the dataset.

    Raises:
        InputError: ``shards_together`` is given, and the dataset is not in shards.
    """

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: NonNegativeInt | None = 0, repeats: PositiveInt = 1,
                 shards_together: PositiveInt | None = None):
        self.rank, self.world_size = get_dist_info()
        self.size = len(dataset)
        self.used = self.size - self.size % self.world_size
        self.shuffle = shuffle
        self.repeats = repeats
        self.seed = seed or 0
        self.shards_together = shards_together
        if shards_together and not hasattr(dataset, 'shard_sizes'):
            raise InputError(f'train_dataloader.sampler has shards_together={shards_together}, and the images of '
                             f'{type(dataset).__name__} are not in shards: leave it out, or train on TarImages')
        self.shard_sizes = dataset.shard_sizes if shards_together else None
        self.epoch = 0
        self._skipped = 0

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        order = self._order()
        start, self._skipped = self._skipped, 0
        columns = [order] if self.repeats == 1 else [order.repeat(self.repeats)[:self.size], np.arange(self.size) % self.repeats]
        mine = [column[self.rank:self.used:self.world_size][start:] for column in columns]
        chunks = ((column[first:first + CHUNK].tolist() for column in mine) for first in range(0, len(mine[0]), CHUNK))
        seed, epoch = self.seed, self.epoch
        return chain.from_iterable(zip(repeat(seed), repeat(epoch), *chunk) for chunk in chunks)

    def _order(self) -> np.ndarray:
        """The images of the epoch, on all ranks."""
        order = np.arange(self.size)
        if not self.shuffle:
            return order
        draws = np.random.default_rng((self.seed, self.epoch))
        if self.shards_together is None:
            draws.shuffle(order)
            return order
        shards = draws.permutation(len(self.shard_sizes))
        ends = np.cumsum(self.shard_sizes)
        blocks = np.split(shards, range(self.shards_together, len(shards), self.shards_together))
        together = (np.concatenate([order[ends[i] - self.shard_sizes[i]:ends[i]] for i in block]) for block in blocks)
        return np.concatenate([draws.permutation(block) for block in together])

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
