"""The optimizer step: mixed precision, clipping, frozen parameters, and a stop before a bad loss does harm."""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from mmengine import optim
from mmengine.dist import all_reduce
from torch import Tensor, nn

from mmdssl.arguments import Positive, PositiveInt
from mmdssl.errors import InputError, NonFiniteLossError
from mmdssl.registry import OPTIM_WRAPPERS

AMP_DTYPES = dict(bf16=torch.bfloat16, fp16=torch.float16)


@OPTIM_WRAPPERS.register_module()
class OptimWrapper(optim.OptimWrapper):
    """MMEngine's optimizer wrapper with what self-supervised recipes need.

    Args:
        optimizer: The optimizer.
        accumulative_counts: Iterations whose gradients are averaged for one step.
        clip_grad: MMEngine's clipping, over all gradients together.
        clip_per_tensor: Largest norm of the gradient of each parameter by itself, as in DINO; None does not clip.
        amp: Forward in ``'bf16'`` or ``'fp16'`` (with loss scaling, on a GPU) where it is safe; None for fp32.

    Attributes:
        frozen: Parameters that the next step leaves alone. Their gradients are dropped, so that neither weight decay
            nor the optimizer's moments touch them (a zero gradient would still decay).
        num_steps: Optimizer steps so far in this process.

    Raises:
        InputError: ``amp`` cannot run here.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, accumulative_counts: PositiveInt = 1, clip_grad: dict | None = None,
                 clip_per_tensor: Positive | None = None, amp: Literal[tuple(AMP_DTYPES)] | None = None):
        super().__init__(optimizer, accumulative_counts, clip_grad)
        self.device = optimizer.param_groups[0]['params'][0].device
        self.clip_per_tensor = clip_per_tensor
        self.amp = amp
        autocast(self.device, amp)  # what cannot run here fails here, not in the first step
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=amp == 'fp16')
        self.frozen: Sequence[nn.Parameter] = ()
        self.num_steps = 0

    @property
    def accumulative_counts(self) -> int:
        return self._accumulative_counts

    @contextmanager
    def optim_context(self, model: nn.Module):
        with super().optim_context(model), autocast(self.device, self.amp):
            yield

    def update_params(self, loss: Tensor, step_kwargs: dict | None = None, zero_kwargs: dict | None = None) -> None:
        """Backward, and a step when enough gradients have been accumulated.

        Raises:
            NonFiniteLossError: Before the step, so that weights and optimizer are those that produced the loss.
        """
        read_loss = start_reading(loss)
        self.backward(self.scale_loss(loss))
        if not math.isfinite(read_loss()):
            raise NonFiniteLossError('the loss is not finite: lower the learning rate, train longer at a low one first, or use '
                                     'bf16 or no mixed precision instead of fp16')
        if self.should_update():
            self.step(**(step_kwargs or {}))
            self.zero_grad(**(zero_kwargs or {}))

    def backward(self, loss: Tensor, **kwargs) -> None:
        super().backward(self.scaler.scale(loss), **kwargs)

    def step(self, **kwargs) -> None:
        self.scaler.unscale_(self.optimizer)
        if self.clip_per_tensor:
            clip_each_([p.grad for group in self.optimizer.param_groups for p in group['params'] if p.grad is not None],
                       self.clip_per_tensor)
        if self.clip_grad_kwargs:
            self._clip_grad()
        for parameter in self.frozen:
            parameter.grad = None
        self.scaler.step(self.optimizer, **kwargs)
        self.scaler.update()
        self.num_steps += 1

    def get_lr(self) -> dict[str, list[float]]:
        """One learning rate for the log: the base one, where groups have several."""
        return dict(lr=[self.param_groups[-1]['lr']])

    def state_dict(self) -> dict:
        return {**super().state_dict(), 'loss_scaler': self.scaler.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        state_dict = dict(state_dict)
        scaler = state_dict.pop('loss_scaler', None)
        if scaler:
            self.scaler.load_state_dict(scaler)
        super().load_state_dict(state_dict)


def autocast(device: torch.device, amp: str | None) -> torch.autocast:
    """The mixed-precision context of a config's ``amp`` value; ``None`` makes one that does nothing."""
    if amp == 'fp16' and device.type == 'cpu':
        raise InputError("amp='fp16' needs a GPU: use amp='bf16' on the CPU")
    return torch.autocast(device.type, AMP_DTYPES.get(amp), enabled=amp is not None)


def clip_each_(gradients: Sequence[Tensor], max_norm: float) -> None:
    """Scale every gradient whose norm exceeds ``max_norm`` down to it, in place and without waiting for the device."""
    if gradients:
        sharded = hasattr(gradients[0], 'to_local')
        gradients = [gradient.to_local() for gradient in gradients] if sharded else gradients
        norms = torch.stack(torch._foreach_norm(gradients))
        if sharded:
            squares = norms.square()
            all_reduce(squares)
            norms = squares.sqrt()
        torch._foreach_mul_(gradients, list((max_norm / (norms + 1e-6)).clamp(max=1)))


def start_reading(loss: Tensor) -> Callable[[], float]:
    """Send the loss, summed over processes, to the host; the call that gets it waits for the forward pass only."""
    total = loss.detach().float().clone()
    all_reduce(total)
    if not total.is_cuda:
        return total.item
    host = torch.empty((), pin_memory=True).copy_(total, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record()

    def read() -> float:
        copied.synchronize()
        return host.item()
    return read
