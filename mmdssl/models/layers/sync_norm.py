"""Batch normalisation over several processes on CPUs, where PyTorch's refuses to work."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmdssl.errors import InputError
from mmdssl.models.losses.distillation import at_least_fp32
from mmdssl.models.losses.gather import total


class SyncBatchNorm(_BatchNorm):
    """Batch normalisation of ``(B, C, ...)`` whose statistics, in training, are those of all processes.

    Differentiable through the statistics: after the averaging of ``DistributedDataParallel`` the gradients are those of one
    process with all images. Parameters, buffers and their names are PyTorch's.

    Raises:
        InputError: In training, all processes together have a single value per channel.
    """

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() < 2:
            raise ValueError(f'expected (B, C, ...), got {tuple(x.shape)}')

    def forward(self, x: Tensor) -> Tensor:
        x = self._normalise(x) if self.training else super().forward(x)
        for part in ('drop', 'act'):  # what timm's norms contain besides
            x = getattr(self, part)(x) if hasattr(self, part) else x
        return x

    def _normalise(self, x: Tensor) -> Tensor:
        self._check_input_dim(x)
        values = at_least_fp32(x)
        dims, shape = [0, *range(2, x.dim())], [1, -1, *[1] * (x.dim() - 2)]
        count = total(values.new_tensor(values.numel() // values.shape[1]))
        if count <= 1:
            raise InputError('batch normalisation of a batch of a single value: raise train_dataloader.batch_size')
        mean = total(values.sum(dims)) / count
        values = values - mean.view(shape)
        variance = total(values.square().sum(dims)) / count
        if self.track_running_stats:
            self._remember(mean.detach(), (variance * count / (count - 1)).detach())
        values = values * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            values = values * self.weight.view(shape) + self.bias.view(shape)
        return values.to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean), share)
        self.running_var.lerp_(variance.to(self.running_var), share)


def synchronise_norms(model: nn.Module) -> None:
    """Make every batch norm of a model a :class:`SyncBatchNorm`, in place, so that hooks and references to them stay valid."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.__class__ = SyncBatchNorm
