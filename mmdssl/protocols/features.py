"""Features of a labelled dataset."""
from __future__ import annotations

import logging
import os

import torch
from mmengine.dataset import BaseDataset
from mmengine.dist import all_reduce
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmdssl.errors import InputError


@torch.no_grad()
def extract_features(algorithm: nn.Module, dataloader: DataLoader) -> tuple[Tensor, Tensor]:
    """Features of a labelled dataset, in its order and on every process.

    Files that cannot be decoded are left out, with a warning.

    Returns:
        L2-normalised features ``(n, D)`` and labels ``(n,)``.

    Raises:
        InputError: No file can be decoded.
    """
    total, device = len(dataloader.dataset), next(algorithm.parameters()).device
    features = None
    labels, times = (torch.zeros(total, dtype=torch.long, device=device) for _ in range(2))
    for batch in dataloader:
        images = algorithm.data_preprocessor.normalise(batch['image'])
        found = nn.functional.normalize(algorithm.backbone.features(images).float(), dim=-1)
        if features is None:
            features = found.new_zeros(total, found.shape[1])
        index = batch['index'].to(device)
        features[index], labels[index], times[index] = found, batch['label'].to(device), 1
    for share in (features, labels, times):
        all_reduce(share)
    # a sampler that makes the shares equally large gives some images to two processes
    features, labels = features / times[:, None], labels // times
    readable = labels >= 0
    if not readable.all():
        _report_unreadable(dataloader.dataset, (~readable).nonzero().flatten().tolist())
    return features[readable], labels[readable]


def _report_unreadable(dataset: BaseDataset, indices: list[int]) -> None:
    """The logger drops what it has said before, so each folder is reported once in a run."""
    folder = dataset.data_root
    names = [os.path.relpath(dataset.get_data_info(index)['img_path'], folder) for index in indices[:5]]
    some = ', '.join(names) + (' ...' if len(indices) > 5 else '')
    if len(indices) == len(dataset):
        raise InputError(f"none of the {len(dataset)} images of '{folder}' can be decoded ({some}): k-NN needs images")
    print_log(f"k-NN leaves out {len(indices)} of the {len(dataset)} images of '{folder}', which cannot be decoded: "
              + some, 'current', logging.WARNING)
