"""What a backbone costs: operations, parameters, time and memory."""
from __future__ import annotations

import platform
import statistics
import time
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmdssl.arguments import Positive, PositiveInt
from mmdssl.errors import InputError
from mmdssl.registry import METRICS


@METRICS.register_module()
class CostMetric:
    """Of a backbone's ``features(images)``, in eval mode and without gradients, on the device where it is.

    ``parameters`` in millions; ``gflops`` of one image, multiplications and additions counted each (:mod:`torch.utils.flop_counter`:
    those of matrix products, convolutions and attention); ``images_per_second``, by the median time of a batch that is on the device
    already; and on CUDA ``memory``, the most that was allocated with weights and one batch, in GiB. Elsewhere memory cannot be told and
    is left out. The last two are of one device alone: say which, see :func:`device_name`.

    Args:
        size: Side of the images.
        batch_size: Images at a time; None for 64 on CUDA and 8 elsewhere.
        batches: How many are timed at most, after two that are not.
        seconds: After which no other is begun.

    Raises:
        InputError: When called: the backbone has no ``features(images)``.
    """

    def __init__(self, size: PositiveInt = 224, batch_size: PositiveInt | None = None, batches: PositiveInt = 10, seconds: Positive = 20.):
        self.size = size
        self.batch_size = batch_size
        self.batches = batches
        self.seconds = seconds

    @torch.no_grad()
    def __call__(self, backbone: nn.Module) -> dict[str, float]:
        if not hasattr(backbone, 'features'):
            raise InputError(f'the cost is that of features(images), which {type(backbone).__name__} does not have')
        device, training = next(backbone.parameters()).device, backbone.training
        backbone.eval()
        try:
            number = self.batch_size or (64 if device.type == 'cuda' else 8)
            images = torch.randn(number, 3, self.size, self.size, device=device)
            return dict(parameters=sum(parameter.numel() for parameter in backbone.parameters()) / 1e6,
                        gflops=count_flops(backbone, images[:1]) / 1e9, **self._measure(backbone, images))
        finally:
            backbone.train(training)

    def _measure(self, backbone: nn.Module, images: torch.Tensor) -> dict[str, float]:
        cuda = images.is_cuda
        for _ in range(2):
            backbone.features(images)
        if cuda:
            torch.cuda.reset_peak_memory_stats(images.device)
        seconds: list[float] = []
        while len(seconds) < self.batches and sum(seconds) < self.seconds:
            _wait(images.device)
            start = time.perf_counter()
            backbone.features(images)
            _wait(images.device)
            seconds.append(time.perf_counter() - start)
        memory = dict(memory=torch.cuda.max_memory_allocated(images.device) / 2**30) if cuda else {}
        return dict(images_per_second=len(images) / statistics.median(seconds), **memory)


def count_flops(backbone: nn.Module, images: torch.Tensor) -> int:
    """Operations of ``backbone.features(images)``."""
    with FlopCounterMode(display=False) as counter:
        backbone.features(images)
    return counter.get_total_flops()


def device_name(device: torch.device) -> str:
    """``'NVIDIA H200'``, or the processor and the threads that torch uses of it."""
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    names = [line.partition(':')[2].strip() for line in _lines('/proc/cpuinfo') if line.startswith('model name')]
    return f'{names[0] if names else platform.processor() or platform.machine()}, {torch.get_num_threads()} threads'


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).is_file() else []


def _wait(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
