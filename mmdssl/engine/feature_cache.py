"""Features on disk: a second protocol reads what a first one has computed."""
from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from uuid import uuid4

import numpy as np
import torch
from mmengine.dist import all_reduce, barrier, broadcast_object_list, is_main_process
from mmengine.logging import print_log
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmdssl.checkpoint.fingerprint import fingerprint_weights
from mmdssl.datasets.images import image_names
from mmdssl.engine.backbone import config_of
from mmdssl.protocols.features import Extractor, Features, beside, read_batches, readable, readable_names, warn_of_unreadable
from mmdssl.results.records import fingerprint_text, versions

software = cache(versions)

BLOCK = 1 << 24  # bytes that are in memory at a time


class FeatureCache:
    """A folder of features, a file for each set of weights, data and settings.

    A file that is not whole, or of anything else than what is asked for, counts as missing and is computed again. What is computed
    need not fit into memory, and what is read is a file mapped into it. Several processes need a folder that all of them see.

    Args:
        folder: It is made where it is missing, and grows until somebody empties it.
        model: With a ``backbone`` and a ``data_preprocessor``.
        config: That of the model.
        amp: ``'bf16'`` or ``'fp16'`` for a backbone in mixed precision.
    """

    def __init__(self, folder: str | Path, model: nn.Module, config: Mapping, amp: str | None = None):
        self.folder = Path(folder)
        self.backbone, self.normalise, self.amp = model.backbone, model.data_preprocessor.normalise, amp
        levels = self.normalise(torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 1, 1))
        network = config_of(self.backbone, config)
        network = repr({**network, 'init_cfg': None} if network else self.backbone)  # wherever its weights come from
        self._of_weights = dict(
            weights=fingerprint_weights(self.backbone), network=network,
            normalised=levels.flatten().tolist(), amp=amp, versions=software())

    def read(self, dataloader: DataLoader, settings: Mapping, extractor: Extractor) -> Features:
        """Features of a dataset, those of :func:`mmdssl.protocols.features.extract`.

        Args:
            dataloader: The same.
            settings: Config of the dataset.
            extractor: What to read.

        Raises:
            OSError: They cannot be kept, for instance because the disk is full.
        """
        facts, known = [''], [False]
        if is_main_process():
            facts = [json.dumps(dict(self._of_weights, **_of_data(dataloader.dataset, settings), extractor=repr(extractor)))]
        broadcast_object_list(facts)
        path = self.folder / f'{fingerprint_text(facts)}.safetensors'
        if is_main_process():
            known = [_is_whole(path, facts[0])]
        broadcast_object_list(known)
        if known[0]:
            print_log(f"Features of '{dataloader.dataset.data_root}' are read from {path}", 'current')
            found = _open(path)
            warn_of_unreadable(dataloader.dataset, found.names)
            return found
        self._compute(path, facts[0], dataloader, extractor)
        return _open(path)

    def _compute(self, path: Path, facts: str, dataloader: DataLoader, extractor: Extractor) -> None:
        """Every process keeps its share in a file that vanishes with it; then the main process writes all of them, in their order."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder, buffering=0) as share:
                self._keep(share, path, facts, dataloader, extractor)
        except OSError as error:
            error.filename = error.filename or str(self.folder)
            raise
        barrier()

    def _keep(self, share, path: Path, facts: str, dataloader: DataLoader, extractor: Extractor) -> None:
        dataset, places, shape = dataloader.dataset, [], None
        for index, label, found in read_batches(self.backbone, dataloader, extractor, self.normalise, self.amp):
            if shape is None:
                shape, labels = found.shape[1:], label.new_zeros(len(dataset), *label.shape[1:])
                times = index.new_zeros(len(dataset))
            _write_all(share, found.cpu().contiguous().numpy())
            places.append(index)
            labels[index], times[index] = label, 1
        all_reduce(labels)
        all_reduce(times)
        labels = labels // beside(times, labels)
        kept = readable(labels)
        names = readable_names(dataset, kept.tolist())
        rows = np.memmap(share, np.float32, 'r').reshape(-1, *shape)
        place = np.full(len(dataset), -1)
        place[torch.cat(places).cpu().numpy()] = np.arange(len(rows))
        values = _in_order(rows, place, times.cpu(), kept.cpu())
        if is_main_process():
            partial = path.with_name(f'.{path.stem}.{uuid4().hex}.partial')  # another run may be computing the same
            try:
                _write(partial, labels[kept].cpu(), values, (len(kept), *shape), dict(facts=facts), [dataset.classes, names])
                os.replace(partial, path)
            finally:
                partial.unlink(missing_ok=True)
        else:
            for _ in values:  # which all processes make together
                pass


def _of_data(dataset, settings: Mapping) -> dict[str, str]:
    """What tells the images of a dataset, and what is made of them, wherever they lie."""
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    files = map(file_stamp, dataset.files() if hasattr(dataset, 'files') else [info['img_path'] for info in infos])
    images = [*zip(image_names(dataset), (info.get('label') for info in infos)), *files]
    return dict(images=fingerprint_text(map(str, images)), classes=fingerprint_text(map(repr, dataset.classes)),
                settings={key: str(value) for key, value in sorted(settings.items()) if key != 'data_root'})


def file_stamp(path: str) -> tuple[int, int] | None:
    """Size and time of a file; None where it is not there, as behind a broken link."""
    try:
        file = os.stat(path)
    except FileNotFoundError:
        return None
    return file.st_size, file.st_mtime_ns


def _in_order(rows: np.ndarray, place: np.ndarray, times: Tensor, kept: Tensor) -> Iterator[Tensor]:
    """Some rows of all processes after others, without those of images that cannot be decoded.

    Args:
        rows: Of this process.
        place: Where among them those of an image are, -1 where another process has them.
        times: By how many processes an image was seen.
        kept: Images that could be decoded.
    """
    row = rows.itemsize * int(np.prod(rows.shape[1:]))
    for some in kept.split(max(1, BLOCK // row)):
        mine = place[some.numpy()]
        values = torch.zeros(len(some), *rows.shape[1:])
        values[torch.from_numpy(mine >= 0)] = torch.from_numpy(rows[mine[mine >= 0]])
        all_reduce(values)
        yield values / beside(times[some], values)


def _write(path: Path, labels: Tensor, values: Iterator[Tensor], shape: Sequence[int], facts: dict[str, str], texts: list) -> None:
    """A safetensors file whose last tensor is the SHA-256 of all that is in front of it."""
    texts = json.dumps(texts).encode()
    parts = dict(labels=('I64', labels.shape, 8), values=('F32', shape, 4), texts=('U8', [len(texts)], 1), sha256=('U8', [32], 1))
    header, end = dict(__metadata__=facts), 0
    for name, (kind, size, width) in parts.items():
        begin, end = end, end + width * int(np.prod(size))
        header[name] = dict(dtype=kind, shape=list(size), data_offsets=[begin, end])
    head = json.dumps(header).encode()
    head += b' ' * (-len(head) % 8)
    digest = hashlib.sha256()
    with open(path, 'wb', buffering=0) as file:
        for part in _contents(len(head).to_bytes(8, 'little') + head, labels, values, texts):
            digest.update(part)
            _write_all(file, part)
        _write_all(file, digest.digest())


def _contents(head: bytes, labels: Tensor, values: Iterator[Tensor], texts: bytes) -> Iterator[bytes]:
    yield head
    yield labels.numpy().tobytes()
    for some in values:
        yield some.numpy().tobytes()
    yield texts


def _write_all(file, data) -> None:
    """A full disk takes a part before it takes nothing."""
    left = memoryview(data).cast('B')
    while left:
        left = left[file.write(left):]


def _is_whole(path: Path, facts: str) -> bool:
    try:
        with safe_open(path, 'pt') as file:
            if file.metadata() != dict(facts=facts):
                return False
        left, digest = path.stat().st_size - 32, hashlib.sha256()
        with open(path, 'rb') as file:
            while left:
                part = file.read(min(BLOCK, left))
                digest.update(part)
                left -= len(part)
            return file.read() == digest.digest()
    except (OSError, SafetensorError):
        return False


def _open(path: Path) -> Features:
    with safe_open(path, 'pt') as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    classes, names = json.loads(tensors['texts'].numpy().tobytes())
    return Features(tensors['values'], tensors['labels'], classes, names)
