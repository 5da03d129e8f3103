"""Features of a labelled dataset: what is read of a backbone, and reading it."""
from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from mmengine.dataset import BaseDataset
from mmengine.dist import all_reduce
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmdssl.arguments import NonEmpty, PositiveInt, checked
from mmdssl.datasets.images import image_names
from mmdssl.errors import InputError
from mmdssl.news import with_news
from mmdssl.protocols.propagation import PRECISIONS


@checked
@dataclass(frozen=True)
class Extractor:
    """What is read of a backbone. Nothing is L2-normalised.

    Args:
        blocks: The last so many blocks, or their numbers, which count from 0, negative ones from the end; of timm's networks the
            feature maps.
        facet: ``'token'``, what blocks return; or the ``'query'``, ``'key'`` or ``'value'`` that their attention makes of each token,
            heads side by side.
        read: ``'pooled'``, what the backbone takes for a vector of the image (with the defaults of all else ``backbone.features``);
            ``'class'``, the class token; ``'mean'``, the mean of the patches; ``'class+mean'``, the class tokens of all blocks and then
            the mean of the last one's patches; ``'patches'``, all patches. Several blocks stand side by side.
        norm: Apply the backbone's final norm to every block's tokens, as DINO does.
    """
    blocks: PositiveInt | Annotated[Sequence[int], NonEmpty] = 1
    facet: Literal['token', 'query', 'key', 'value'] = 'token'
    read: Literal['class', 'mean', 'class+mean', 'patches', 'pooled'] = 'pooled'
    norm: bool = True

    @classmethod
    def of(cls, given: Extractor | Mapping | None, **defaults) -> Extractor:
        """The extractor that a config describes by a dict, or None, without what is as by default."""
        if isinstance(given, Extractor):
            return given
        if given is not None and not isinstance(given, Mapping):
            raise InputError(f"the extractor is {given!r}: give a dict such as dict(facet='key'), on the command line a value each, as "
                             'test_evaluator.extractor.facet=key')
        return cls(**{**defaults, **(given or {})})

    def __post_init__(self) -> None:
        if not isinstance(self.blocks, int):
            object.__setattr__(self, 'blocks', tuple(self.blocks))

    def __call__(self, backbone: nn.Module, images: Tensor) -> Tensor:
        """Features ``(B, D)``, or of patches ``(B, N, D)``, of normalised images ``(B, 3, H, W)``.

        Raises:
            InputError: The backbone has no such thing.
        """
        if self == Extractor():
            _need(backbone, 'features', 'features(images), which gives a vector per image')
            return backbone.features(images)
        _need(backbone, 'intermediates', 'intermediates(images, blocks, facet, norm), by which its blocks are read')
        classes, patches = zip(*backbone.intermediates(images, self.numbers(backbone.num_blocks), self.facet, self.norm))
        read = self.read
        if read == 'pooled':
            read = 'mean' if classes[0] is None or backbone.pool == 'mean' else 'class'
        if 'class' in read and classes[0] is None:
            raise InputError(f"{type(backbone).__name__} has no class token, which the extractor's read='{read}' asks for: set it to "
                             "'mean' or 'pooled'")
        if read == 'patches':
            if len({each.shape[1] for each in patches}) > 1:
                raise InputError(f'the maps of {type(backbone).__name__} are of several sizes, so that their patches cannot stand side by '
                                 'side: set blocks of the extractor to a single one')
            return torch.cat(patches, dim=-1)
        means = [each.mean(1) for each in (patches if read == 'mean' else patches[-1:] if read == 'class+mean' else ())]
        return torch.cat([*(classes if 'class' in read else ()), *means], dim=-1)

    def numbers(self, num_blocks: int) -> list[int]:
        """The blocks of a backbone of so many that are read, from the first to the last."""
        wanted = range(num_blocks - self.blocks, num_blocks) if isinstance(self.blocks, int) else self.blocks
        if not all(-num_blocks <= i < num_blocks for i in wanted) or min(wanted) < 0 and isinstance(self.blocks, int):
            raise InputError(f'the extractor reads blocks={self.blocks}, and the backbone has {num_blocks}: give the last so many, or '
                             f'numbers from 0 to {num_blocks - 1}')
        return sorted({i % num_blocks for i in wanted})


def _need(backbone: nn.Module, method: str, what: str) -> None:
    if not hasattr(backbone, method):
        raise InputError(f'features need a backbone with {what}, and {type(backbone).__name__} has none: add it, or set val_cfg, '
                         'val_dataloader and val_evaluator to None')


@dataclass(frozen=True)
class Features:
    """Features of a labelled dataset, in its order and the same on every process, without images that cannot be decoded.

    Attributes:
        values: ``(n, D)``, or of patches ``(n, N, D)``, fp32; a file that is mapped into memory where they come from a cache.
        labels: ``(n,)``, or ``(n, K)`` where an image has several, on the device of ``values``.
        classes: Names of the classes.
        names: Paths of the images below the folder of the dataset.
    """
    values: Tensor
    labels: Tensor
    classes: list[str]
    names: list[str]

    def __len__(self) -> int:
        return len(self.values)


@torch.no_grad()
def read(backbone: nn.Module, images: Tensor, extractor: Extractor, normalise: Callable[[Tensor], Tensor],
         amp: str | None = None) -> Tensor:
    """Features of images ``(B, 3, H, W)`` uint8 in fp32, on the backbone's device. The arguments are those of :func:`extract`."""
    with torch.autocast(next(backbone.parameters()).device.type, PRECISIONS.get(amp), enabled=amp is not None):
        return extractor(backbone, normalise(images)).float()


def read_batches(backbone: nn.Module, dataloader: DataLoader, extractor: Extractor, normalise: Callable[[Tensor], Tensor],
                 amp: str | None = None) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """This process's share of a dataset: indices ``(B,)``, labels and fp32 features of its batches, on the backbone's device.

    What cannot be decoded has a negative label. The arguments are those of :func:`extract`.
    """
    for batch in batches_of(dataloader):
        values = read(backbone, batch['image'], extractor, normalise, amp)
        yield batch['index'].to(values.device), batch['label'].to(values.device), values


def batches_of(dataloader: DataLoader, what: str = 'Features') -> Iterator[dict]:
    """The batches, with news of them in the log where they take long."""
    return with_news(dataloader, len(dataloader), f'{what} of {dataloader.dataset.data_root}', lambda line: print_log(line, 'current'))


def extract(backbone: nn.Module, dataloader: DataLoader, extractor: Extractor, normalise: Callable[[Tensor], Tensor],
            amp: str | None = None) -> Features:
    """Features of a labelled dataset, in memory.

    Files that cannot be decoded are left out, with a warning.

    Args:
        backbone: The network, in eval mode.
        dataloader: Of a dataset as :class:`mmdssl.datasets.LabelledFolder`; each process has a share of it.
        extractor: What to read.
        normalise: Makes of images ``(B, 3, H, W)`` uint8 what the backbone takes.
        amp: ``'bf16'`` or ``'fp16'`` for a backbone in mixed precision.

    Raises:
        InputError: No file can be decoded.
    """
    dataset, values = dataloader.dataset, None
    for index, label, found in read_batches(backbone, dataloader, extractor, normalise, amp):
        if values is None:
            values, labels = (each.new_zeros(len(dataset), *each.shape[1:]) for each in (found, label))
            times = index.new_zeros(len(dataset))
        values[index], labels[index], times[index] = found, label, 1
    for share in (values, labels, times):
        all_reduce(share)
    # a sampler that makes the shares equally large gives some images to two processes
    values, labels = values / beside(times, values), labels // beside(times, labels)
    kept = readable(labels)
    names = readable_names(dataset, kept.tolist())
    return Features(values[kept], labels[kept], dataset.classes, names)


def beside(times: Tensor, values: Tensor) -> Tensor:
    """``(n,)`` in a shape that is broadcast to values ``(n, ...)``."""
    return times.view(-1, *[1] * (values.ndim - 1))


def readable(labels: Tensor) -> Tensor:
    """Indices of the images that could be decoded, of labels ``(n,)`` or ``(n, K)``."""
    return (labels >= 0).flatten(1).all(1).nonzero().flatten() if labels.ndim > 1 else (labels >= 0).nonzero().flatten()


def readable_names(dataset: BaseDataset, kept: Sequence[int]) -> list[str]:
    """Names of the images at some indices; a warning names the others.

    Raises:
        InputError: There is none.
    """
    names = _names(dataset)
    found = [names[index] for index in kept]
    warn_of_unreadable(dataset, found)
    return found


def warn_of_unreadable(dataset: BaseDataset, found: Sequence[str]) -> None:
    """Name the images that are not among those that could be decoded.

    The logger drops what it has said before, so each folder is reported once in a run.

    Raises:
        InputError: None could be.
    """
    folder, names, known = dataset.data_root, _names(dataset), set(found)
    lost = [name for name in names if name not in known]
    some = ', '.join(lost[:5]) + (' ...' if len(lost) > 5 else '')
    if not known:
        raise InputError(f"none of the {len(names)} images of '{folder}' can be decoded ({some}): features need images")
    if lost:
        print_log(f"{len(lost)} of the {len(names)} images of '{folder}' are left out, they cannot be decoded: {some}", 'current',
                  logging.WARNING)


def _names(dataset: BaseDataset) -> list[str]:
    return [name.lstrip('/') for name in image_names(dataset)]
