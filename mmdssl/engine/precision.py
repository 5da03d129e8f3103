"""Whether mixed precision is worth it on this machine."""
from __future__ import annotations

import time
from functools import cache

import torch
from mmengine.optim import OptimWrapper
from timm.models.vision_transformer import Block
from torch import nn

from mmdssl.engine.backbone import backbone_of

WIDTH = 384  # of the block at most; wider ones gain and lose as this one does
TOKENS = 64  # of an image
CERTAIN = 4.  # times as long: no second look
SLOW = 1.2  # times as long


def bf16_cost(model: nn.Module, optim_wrapper: OptimWrapper) -> float | None:
    """The time of a transformer block of this model in bf16, as a multiple of that in fp32, where it is trained in bf16 on a CPU."""
    if getattr(optim_wrapper, 'amp', None) != 'bf16' or optim_wrapper.device.type != 'cpu':
        return None
    return _time_in_bf16(min(WIDTH, getattr(backbone_of(model), 'embed_dim', WIDTH)))


def in_words(cost: float) -> str:
    """What :func:`bf16_cost` means."""
    if cost > SLOW:
        return (f'bf16 is slow on this CPU: a transformer block takes {cost:.1f} times as long as in fp32, '
                'which a run without --amp has')
    return f'bf16: a transformer block takes {cost:.2f} of its time in fp32 on this CPU'


@cache
def _time_in_bf16(width: int) -> float:
    """Forward and backward of a transformer block: the time in bf16, as a multiple of that in fp32. Takes about a second.

    CPUs with AVX512-BF16 or AMX multiply bf16 matrices faster than fp32 ones; others need up to twenty times as long.
    """
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        block = Block(width, 1 if width % 64 else width // 64)
        images = torch.randn(min(16, round(2 * (WIDTH / width)**2)), TOKENS, width)

        def seconds(amp: bool) -> float:
            start = time.perf_counter()
            with torch.autocast('cpu', torch.bfloat16, enabled=amp):
                output = block(images)
            output.float().sum().backward()
            return time.perf_counter() - start
        seconds(False)  # the first one makes the kernels
        fp32, bf16 = seconds(False), seconds(True)
        if bf16 < CERTAIN * fp32:
            fp32, bf16 = (min(seconds(amp) for _ in range(3)) for amp in (False, True))
    return bf16 / fp32
