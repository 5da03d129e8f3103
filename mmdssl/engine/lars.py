"""Layer-wise adaptive rates, for convolutional networks in large batches: LARS and LARC."""
from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated

import torch
from torch import Tensor
from torch.optim import Optimizer

from mmdssl.arguments import NonNegative, Range
from mmdssl.registry import OPTIMIZERS


@OPTIMIZERS.register_module()
class LARS(Optimizer):
    """SGD with momentum in which a parameter's update is as long as a share of the parameter (You et al., 2017).

    With ``g`` the gradient plus ``weight_decay w``, and per parameter::

        v <- momentum v + eta |w| / |g| g        (the ratio is 1 where either norm is 0)
        w <- w - lr v

    Parameters of one dimension (biases, norms) neither decay nor adapt: their ``g`` is the gradient, with ratio 1 (Barlow
    Twins).

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate.
        momentum: In [0, 1).
        weight_decay: Of parameters of two dimensions or more.
        eta: Trust coefficient.
    """

    def __init__(self, params: Iterable, lr: NonNegative,
                 momentum: Annotated[float, Range('from 0 to below 1', lambda value: 0 <= value < 1)] = 0.9,
                 weight_decay: NonNegative = 0., eta: NonNegative = 0.001):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay, eta=eta))

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            trained = [p for p in group['params'] if p.grad is not None]
            if trained:
                self._update(trained, group['lr'], group['momentum'], group['weight_decay'], group['eta'])
        return loss

    def _update(self, parameters: list[Tensor], lr: float, momentum: float, weight_decay: float, eta: float) -> None:
        parameters, updates = self._scaled(parameters, weight_decay, eta)
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter]['momentum_buffer'] = torch.zeros_like(parameter)
        velocities = [self.state[parameter]['momentum_buffer'] for parameter in parameters]
        torch._foreach_mul_(velocities, momentum)
        torch._foreach_add_(velocities, updates)
        torch._foreach_add_(parameters, velocities, alpha=-lr)

    def _scaled(self, parameters: list[Tensor], weight_decay: float, eta: float) -> tuple[list[Tensor], list[Tensor]]:
        """The parameters in some order, and what is added to the velocity of each."""
        adapted = [p for p in parameters if p.ndim > 1]
        plain = [p for p in parameters if p.ndim <= 1]
        updates = [p.grad for p in plain]
        if adapted:
            scaled = torch._foreach_add([p.grad for p in adapted], adapted, alpha=weight_decay)
            lengths, norms = (torch.stack(torch._foreach_norm(tensors)) for tensors in (adapted, scaled))
            ratios = torch.where((lengths > 0) & (norms > 0), eta * lengths / norms, 1.)
            torch._foreach_mul_(scaled, list(ratios))
            updates = [*scaled, *updates]
        return [*adapted, *plain], updates


@OPTIMIZERS.register_module()
class LARC(LARS):
    """LARS as SwAV uses it, after apex: every parameter adapts and decays, biases and norms too.

    With ``g`` the gradient, per parameter::

        v <- momentum v + eta |w| / (|g| + weight_decay |w| + 1e-8) (g + weight_decay w)
        w <- w - lr v

    Where ``|w|`` or ``|g|`` is 0, ``g`` is added to ``momentum v`` as it is. Arguments are those of :class:`LARS`; in a recipe
    where all decay, ``optim_wrapper.paramwise_cfg`` has ``decay_biases=True, decay_norms=True``.
    """

    def _scaled(self, parameters: list[Tensor], weight_decay: float, eta: float) -> tuple[list[Tensor], list[Tensor]]:
        gradients = [p.grad for p in parameters]
        lengths, norms = (torch.stack(torch._foreach_norm(tensors)) for tensors in (parameters, gradients))
        adapts = (lengths > 0) & (norms > 0)
        ratios = torch.where(adapts, eta * lengths / (norms + weight_decay * lengths + 1e-8), 1.)
        updates = torch._foreach_add(gradients, torch._foreach_mul(parameters, list(weight_decay * adapts)))
        torch._foreach_mul_(updates, list(ratios))
        return parameters, updates
