"""Segmentation by the nearest patches of other images: what a backbone knows of pixels without training anything on it.

Balazevic et al., "Towards In-Context Scene Understanding", NeurIPS 2023, with the choices of open-hummingbird-eval, whose figures papers
report.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.dist import all_gather, all_reduce, get_dist_info
from mmengine.logging import print_log
from torch import Tensor

from mmdssl.arguments import NonNegativeInt, Positive, PositiveInt
from mmdssl.errors import InputError
from mmdssl.protocols.features import Extractor
from mmdssl.protocols.knn import nearest
from mmdssl.protocols.patches import PatchBatch, PatchFeatures
from mmdssl.protocols.segmentation_scores import class_counts, confusion, hungarian_iou, mean_iou, pixel_accuracy
from mmdssl.registry import METRICS

QUERIES = 4096  # whose neighbours' labels are in memory at a time
PRECISIONS = dict(fp32=torch.float32, bf16=torch.bfloat16)


def pixel_counts(masks: Tensor, grid: tuple[int, int], num_classes: int) -> Tensor:
    """How many pixels of each patch are of each class.

    Args:
        masks: ``(B, S, S)`` uint8, 255 for what is not counted.
        grid: Rows and columns of patches, ``N`` in all.
        num_classes: Number of classes.

    Returns:
        ``(B, N, num_classes + 1)``, the last column those that are not counted; uint8 where a patch has up to 256 pixels, and then one of
        256 pixels of a single class has 255 of it, which is the same share; int32 beyond that.
    """
    counts = class_counts(masks.clamp(max=num_classes), grid, num_classes + 1)
    pixels = masks[0].numel() // (grid[0] * grid[1])
    return counts.clamp_(max=255).to(torch.uint8) if pixels <= 256 else counts


def choose_patches(counts: Tensor, number: int, seed: tuple[int, ...]) -> Tensor:
    """Patches of an image for a memory that has no room for all, those with rare classes preferred.

    A patch scores the sum, over the classes in it, of the number of patches of the image that have the class, times a number drawn from
    [0, 1); those that score least are taken.

    Args:
        counts: ``(N, classes)``.
        number: How many; all where there are fewer.
        seed: What is drawn depends on it alone.

    Returns:
        Their numbers ``(min(number, N),)``.
    """
    if number >= len(counts):
        return torch.arange(len(counts), device=counts.device)
    present = (counts > 0).float()
    drawn = torch.from_numpy(np.random.default_rng(seed).random(len(counts), np.float32)).to(counts.device)
    return (present @ present.sum(0) * drawn).topk(number, largest=False).indices


class PatchMemory:
    """Patches with known pixels, of which each process holds a share.

    Args:
        keys: This process's share ``(n, D)``, L2-normalised, in fp32 or bf16.
        counts: :func:`pixel_counts` of them ``(n, C)``.
        k: Number of neighbours, at most the patches of all processes together.
        temperature: Of their weights ``softmax(cosine / temperature)``.
    """

    def __init__(self, keys: Tensor, counts: Tensor, k: int = 30, temperature: float = 0.02):
        self.keys, self.counts, self.k, self.temperature = keys, counts, k, temperature

    def soft_labels(self, queries: Tensor) -> Tensor:
        """The mean of the shares of classes of the nearest patches of all processes; to be called by all of them together.

        Args:
            queries: This process's ``(m, D)``, on the device of the keys; any number.

        Returns:
            ``(m, C)``, which sum to 1.
        """
        everyone = _gather_rows(queries)
        bounds = np.cumsum([0, *map(len, everyone)])
        rank, _ = get_dist_info()
        together = torch.cat([self._weighted(some) for some in torch.cat(everyone).split(QUERIES)])
        return together[bounds[rank]:bounds[rank + 1]]

    def neighbours(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines with the nearest keys of this process's share and their rows, ``(m, k)``; -inf and 0 where it has fewer."""
        cosines = queries.new_full((len(queries), self.k), -torch.inf)
        rows = torch.zeros_like(cosines, dtype=torch.long)
        if len(self.keys):
            found, places = nearest(self.keys, queries, self.k)
            cosines[:, :found.shape[1]], rows[:, :found.shape[1]] = found, places
        return cosines, rows

    def _weighted(self, queries: Tensor) -> Tensor:
        """Soft labels of queries that all processes have."""
        cosines, rows = self.neighbours(queries)
        rank, _ = get_dist_info()
        best, places = torch.cat(all_gather(cosines), 1).topk(self.k)
        weights = (best / self.temperature).softmax(1).where((places // self.k) == rank, 0.)
        mine = torch.zeros_like(cosines).scatter_add_(1, places % self.k, weights)
        counts = self.counts[rows].float() if len(self.keys) else queries.new_zeros(*rows.shape, self.counts.shape[1])
        labels = torch.einsum('qk,qkc->qc', mine, counts / counts.sum(-1, keepdim=True).clamp(min=1))
        all_reduce(labels)
        return labels


def _gather_rows(rows: Tensor) -> list[Tensor]:
    """Those of all processes, each with any number."""
    _, processes = get_dist_info()
    if processes == 1:
        return [rows]
    lengths = [int(each) for each in all_gather(torch.tensor([len(rows)], device=rows.device))]
    padded = rows.new_zeros(max(lengths), rows.shape[1])
    padded[:len(rows)] = rows
    return [each[:length] for each, length in zip(all_gather(padded), lengths)]


def _together(batches: Iterable[PatchBatch], device: torch.device) -> Iterator[PatchBatch | None]:
    """Batches of this process, and then None until those of all processes have come to their end."""
    batches = iter(batches)
    while True:
        batch = next(batches, None)
        left = torch.tensor(int(batch is not None), device=device)
        all_reduce(left, 'max')
        if not left:
            return
        yield batch


@METRICS.register_module()
class HummingbirdMetric:
    """Segmentation by the k nearest patches: ``mIoU_hbird``, ``mIoU_clean`` and ``accuracy_clean``, in percent.

    The memory has patches of the bank with the shares of classes of their pixels. A patch of a query is given the mean of those of its
    nearest ones by cosine, found exactly, weighted by ``softmax(cosine / temperature)``; these are brought to the size of the masks
    (bilinear), and pixels are of the class with the largest share. One confusion matrix of all pixels is scored, in two ways:

    - ``hbird``, as open-hummingbird-eval does: pixels of the bank that are not counted are of the first class (or of one of their own),
      predicted classes are matched with true ones (:func:`mmdssl.protocols.segmentation_scores.hungarian_iou`), and a class that is
      nowhere counts 0;
    - ``clean``: such pixels have no say, and classes are what they are (:func:`mmdssl.protocols.segmentation_scores.mean_iou`).

    Both have the same memory and neighbours. open-hummingbird-eval divides blue by 0.255, not by ImageNet's deviation of 0.225: to copy
    that too, set ``model.data_preprocessor=dict(type='mmdssl.ViewsPreprocessor', std=(58.395, 57.12, 65.025))``.

    Args:
        memory_size: Patches in the memory, the same number of each image (rounded down), see :func:`choose_patches`; None for all.
        k: Number of neighbours.
        temperature: Of their weights.
        void: In the hbird rules pixels of the bank that are not counted are of the ``'first'`` class, as of VOC, Cityscapes and COCO; or
            of their ``'own'``, which is one more to average over and always 0, as of ADE20K.
        precision: Of the keys: ``'bf16'`` halves their memory and, on a GPU, multiplies them in it, with sums in fp32.
        seed: Of the choice of patches.
        extractor: What is read of the backbone, the arguments of :class:`mmdssl.protocols.features.Extractor`; patches.

    Raises:
        InputError: The extractor reads something else; or when called: the memory is smaller than the number of images, or no pixel has
            a class.

    Attributes:
        names: Of the metrics.
    """
    names = 'mIoU_hbird', 'mIoU_clean', 'accuracy_clean'

    def __init__(self, memory_size: PositiveInt | None = None, k: PositiveInt = 30, temperature: Positive = 0.02,
                 void: Literal['first', 'own'] = 'first', precision: Literal['fp32', 'bf16'] = 'fp32', seed: NonNegativeInt = 0,
                 extractor: Mapping | Extractor | None = None):
        self.memory_size = memory_size
        self.k = k
        self.temperature = temperature
        self.void = void
        self.precision = PRECISIONS[precision]
        self.seed = seed
        self.extractor = Extractor.of(extractor, read='patches')
        if self.extractor.read != 'patches':
            raise InputError(f"{type(self).__name__} compares patches, and its extractor has read='{self.extractor.read}': set it to "
                             "'patches'")

    @property
    def setting(self) -> dict[str, int | str]:
        """What numbers must agree in to be compared; the published rows go by the size of the memory."""
        size = 'all' if self.memory_size is None else f'{self.memory_size // 1000}k'
        return dict(framework=f'memory-{size}', neighbours=self.k, void=self.void)

    def check_bank(self, size: int) -> None:
        """Raise an InputError where so many images have less than a patch each in the memory."""
        if self.memory_size is not None and self.memory_size < size:
            raise InputError(f'the memory of {type(self).__name__} has room for memory_size={self.memory_size} patches, and the bank has '
                             f'{size} images: raise it to a patch of each at least, or take fewer images')

    def __call__(self, bank: PatchFeatures, queries: PatchFeatures) -> dict[str, float]:
        """To be called by all processes, each with its share."""
        memory = self.remember(bank)
        num_classes = len(bank.classes)
        clean = torch.zeros(num_classes, num_classes, dtype=torch.long, device=queries.device)
        hbird = torch.zeros(num_classes + 1, num_classes + 1, dtype=torch.long, device=queries.device)
        for batch in _together(queries, queries.device):
            values = memory.keys.new_zeros(0, memory.keys.shape[1]) if batch is None else batch.values.flatten(0, 1)
            labels = memory.soft_labels(values.float())
            if batch is None:
                continue
            for mask, shares in zip(batch.masks, labels.unflatten(0, batch.values.shape[:2])):
                maps = shares.T.unflatten(1, batch.grid)
                predicted = _largest(_without_void(maps), mask)
                clean += confusion(predicted, mask, *clean.shape)
                if maps[-1].any():
                    predicted = _largest(_void_as_first(maps) if self.void == 'first' else maps, mask)
                hbird += confusion(predicted, mask, *hbird.shape)
        all_reduce(clean)
        all_reduce(hbird)
        clean, hbird = clean.cpu().numpy(), hbird.cpu().numpy()
        if not clean.sum():
            queries.warn_of_unreadable()
            raise InputError(f"no pixel of the masks of '{queries.dataset.data_root}' has a class: check its masks, classes and ignore")
        if self.void == 'first':
            hbird = hbird[:-1, :-1]
        return dict(zip(self.names, (hungarian_iou(hbird), mean_iou(clean), pixel_accuracy(clean))))

    def remember(self, bank: PatchFeatures) -> PatchMemory:
        """The memory of the patches of a bank."""
        self.check_bank(len(bank))
        number = None if self.memory_size is None else self.memory_size // len(bank)
        num_classes, filled, keys, counts = len(bank.classes), 0, None, None
        for batch in bank:
            theirs = pixel_counts(batch.masks, batch.grid, num_classes)
            for index, values, found in zip(batch.index.tolist(), batch.values, theirs):
                seen = _void_as_first(found.T).T if self.void == 'first' else found
                chosen = choose_patches(seen, number or len(found), (self.seed, index))
                if keys is None:
                    rows = bank.share * len(chosen)
                    keys = values.new_empty(rows, values.shape[1], dtype=self.precision)
                    counts = found.new_empty(rows, found.shape[1])
                keys[filled:filled + len(chosen)] = F.normalize(values[chosen], dim=-1)
                counts[filled:filled + len(chosen)] = found[chosen]
                filled += len(chosen)
        # what a process without a single image has not seen
        width = torch.tensor(0 if keys is None else keys.shape[1], device=bank.device)
        size = torch.tensor([filled, 0 if keys is None else int((counts[:filled, :-1] > 0).any())], device=bank.device)
        all_reduce(width, 'max')
        all_reduce(size)
        if not size[1]:
            bank.warn_of_unreadable()
            raise InputError(f"no pixel of the masks of '{bank.dataset.data_root}' has a class: check its masks, classes and ignore")
        if keys is None:
            keys = torch.zeros(0, int(width), dtype=self.precision, device=bank.device)
            counts = torch.zeros(0, num_classes + 1, dtype=torch.uint8, device=bank.device)
        print_log(f'The memory has {size[0]} patches', 'current')
        return PatchMemory(keys[:filled], counts[:filled], min(self.k, int(size[0])), self.temperature)


def _largest(maps: Tensor, mask: Tensor) -> Tensor:
    """Classes ``(S, S)`` of soft labels ``(C, h, w)``."""
    return F.interpolate(maps[None], mask.shape, mode='bilinear')[0].argmax(0)


def _without_void(maps: Tensor) -> Tensor:
    """Shares ``(C + 1, ...)`` of which the last is not counted as shares ``(C, ...)`` of the rest; 0 where nothing is left."""
    return maps[:-1] / maps[:-1].sum(0).clamp(min=1e-12)


def _void_as_first(maps: Tensor) -> Tensor:
    """The last of ``(C + 1, ...)`` added to the first."""
    first = maps[:1] + maps[-1:]
    return torch.cat([first, maps[1:-1]])
