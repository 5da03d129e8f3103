"""Images in tars."""
from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator, Sequence
from io import BytesIO

import numpy as np
from PIL import Image

from mmdssl.arguments import Positive
from mmdssl.datasets.base import ImageDataset
from mmdssl.datasets.images import read_rgb
from mmdssl.datasets.packed import Chosen
from mmdssl.datasets.tar_index import TarIndex, open_index
from mmdssl.datasets.tars import Tars, tars_in
from mmdssl.registry import DATASETS


class TarMembers(Sequence):
    """What is known of the images of an index: for each a dict, made when it is asked for."""

    def __init__(self, index: TarIndex, tars: Tars):
        self.index, self.tars = index, tars

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: int) -> dict:
        index = range(len(self))[index]
        shard, offset, size = self.index.place(index)
        info = dict(img_path=self.tars.path(shard.name), tar=shard.name, offset=offset, size=size)
        return info if self.index.labels is None else dict(info, label=int(self.index.labels.values[index]))


@DATASETS.register_module()
class TarImages(ImageDataset):
    """The images in tars, such as those of img2dataset and WebDataset, or of any ``tar cf``; other files in them are ignored.

    Images come in the order of the tars, sorted by name, and of the files in each; a key gives the same views as of the same images in a
    folder. The first run looks through the tars, see :class:`mmdssl.datasets.tar_index.TarIndex`; later ones look only into those that are
    new or have another size or time. Tars must not be compressed. Where all images of all tars are in folders, views have labels, the
    numbers of the first of these, sorted by name; and where beside each there is a ``.cls``, the number in it.

    Args:
        data_root: Folder of the tars, or an address that fsspec reads (``s3://bucket/folder``), whose tars are copied to a cache as they
            are needed. For such, and for slow disks, give the sampler ``shards_together``.
        shards: Names or patterns below it: ``'*.tar'``, ``'part-{000..123}.tar'``.
        index: Path of the index; None for ``index.npy`` in ``data_root``, or in the cache where nothing can be written there.
        cache: Folder of what is kept of other places; None for one in that of ``torch.hub``.
        cache_gb: 10^9 bytes of copies of tars in it. They should have room for those that the sampler draws from at a time, and for
            some more.
        **kwargs: Further arguments of :class:`ImageDataset`.

    Attributes:
        shard_sizes: Images of each tar, in the order of the data set.

    Raises:
        InputError: There are no tars or no images in them, or one is compressed or no tar.
    """

    def __init__(self, data_root: str, shards: str | Sequence[str] = '**/*.tar', *, index: str | None = None, cache: str | None = None,
                 cache_gb: Positive = 100., **kwargs):
        self._patterns = [shards] if isinstance(shards, str) else [*shards]
        self._index_file, self._cache = index, cache
        self.tars = tars_in(data_root, cache, cache_gb)
        super().__init__(data_root, **kwargs)

    def _join_prefix(self) -> None:
        """MMEngine knows other addresses than fsspec, and there is no prefix."""

    def load_data_list(self) -> TarMembers:
        self.index = open_index(self.tars, self.tars.find(self._patterns), self._index_file, self._cache)
        return TarMembers(self.index, self.tars)

    @property
    def shard_sizes(self) -> np.ndarray:
        if not isinstance(self.data_list, Chosen):
            return np.diff(self.index.ends, prepend=0)
        shards = np.searchsorted(self.index.ends, self.data_list.positions.values, 'right')
        return np.diff(np.flatnonzero(np.diff(shards, prepend=-1, append=-1)))

    def image_names(self) -> Iterator[str]:
        """For each tar its name and a hash of what is used of it: names of the images are in the tars alone."""
        for shard, digest in zip(self.index.shards, self.index.digests()):
            yield f'{shard.name}:{digest}'
        if isinstance(self.data_list, Chosen):
            yield from map(str, self.data_list.positions.values.tolist())

    def read(self, info: dict) -> Image.Image | None:
        def opened(path: str) -> BytesIO:
            return BytesIO(self.tars.read(info['tar'], info['offset'], info['size']))
        image = read_rgb(info['img_path'], info.get('spare'), opened)
        if image is None:
            info['img_path'] = f'{info["img_path"]}/{self._member(info)}'
        return image

    def _member(self, info: dict) -> str:
        """The name that the header in front of an image tells."""
        try:
            header = self.tars.read(info['tar'], info['offset'] - tarfile.BLOCKSIZE, tarfile.BLOCKSIZE)
            return os.path.normpath(tarfile.TarInfo.frombuf(header, 'utf-8', 'surrogateescape').name)
        except (OSError, tarfile.TarError):
            return f'byte {info["offset"]}'
