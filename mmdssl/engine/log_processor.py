"""The training log line."""
from __future__ import annotations

import resource
import sys
from collections import OrderedDict

import torch
from mmengine import runner as base

from mmdssl.registry import LOG_PROCESSORS

TIMES = ('time', 'data_time')


@LOG_PROCESSORS.register_module()
class LogProcessor(base.LogProcessor):
    """MMEngine's log line with throughput, the share of time spent waiting for data, and memory also on the CPU.

    ``images_per_second`` counts the images of all processes, ``data_wait`` is in percent of the iteration's time,
    ``memory`` in MiB (the most that was allocated since the last line on a GPU, the most that was resident on the
    CPU). The line of a k-NN evaluation has percentages with one decimal.
    """

    def __init__(self, *args, mean_pattern: str = r'.*(loss|time|grad_norm|entropy|kl).*', **kwargs):
        super().__init__(*args, mean_pattern=mean_pattern, **kwargs)

    def get_log_after_epoch(self, runner: base.Runner, batch: int, mode: str, *args, **kwargs) -> tuple[dict, str]:
        tag, line = super().get_log_after_epoch(runner, batch, mode, *args, **kwargs)
        if not any('knn' in name for name in tag):
            return tag, line
        metrics = '  '.join(f'{name}: {value:{".1f" if "knn" in name else ".4g"}}' for name, value in tag.items() if name not in TIMES)
        title = f'Epoch(val) [{self._get_epoch(runner, "val")}]' if mode == 'val' else 'Test'
        return tag, f'{title}  {metrics}'

    def _collect_scalars(self, custom_cfg: list[dict], runner: base.Runner, mode: str,
                         reserve_prefix: bool = False) -> dict:
        scalars = super()._collect_scalars(custom_cfg, runner, mode, reserve_prefix)
        prefix = f'{mode}/' if reserve_prefix else ''
        seconds = scalars.get(f'{prefix}time')
        if mode != 'train' or not seconds:
            return scalars
        speed = {'images_per_second': images_per_second(runner, float(seconds)),
                 'data_wait': round(100 * float(scalars[f'{prefix}data_time']) / float(seconds))}
        if not torch.cuda.is_available():
            speed['memory'] = peak_memory()
        return OrderedDict({**{f'{prefix}{name}': value for name, value in speed.items()}, **scalars})


def images_per_second(runner: base.Runner, seconds: float) -> float:
    """Those of all processes, where an iteration takes so many seconds."""
    speed = runner.train_dataloader.batch_sampler.batch_size * runner.world_size / seconds
    return round(speed) if speed > 20 else round(speed, 2)


def peak_memory() -> int:
    """MiB: the most that this process has allocated on the GPU, or, without one, has had resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() // 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (2**20 if sys.platform == 'darwin' else 2**10)
