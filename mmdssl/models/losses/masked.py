"""Means over masked patches."""
from __future__ import annotations

from mmengine.dist import all_reduce
from torch import Tensor


def mean_over_masked(values: Tensor) -> Tensor:
    """The mean of what each masked patch contributes, ``(M,)``, over the masked patches of all processes.

    M may differ between processes. The result is the share of this process times their number: averaged over processes, as
    DistributedDataParallel averages gradients, it is what one process would compute of all patches.
    """
    count = values.new_full((), len(values))
    all_reduce(count, 'mean')
    return values.sum() / count.clamp(min=1.)
