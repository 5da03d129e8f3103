"""An optimizer whose state is spread over the processes: ZeRO, stage 1."""
from __future__ import annotations

from collections.abc import Iterable

from mmengine.dist import is_main_process
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.optim import Optimizer


class ZeRO1(ZeroRedundancyOptimizer):
    """PyTorch's, whose state is read and written like that of the optimizer inside.

    Each process updates its share of the parameters, whole tensors, and sends them to the others: the same numbers, and a share of
    the optimizer's memory. With ``DistributedDataParallel`` and any model.

    Args:
        params: Parameters, or groups of them.
        optimizer: Class of the optimizer.
        defaults: Its arguments.
    """

    def __init__(self, params: Iterable, optimizer: type[Optimizer], **defaults):
        super().__init__(params, optimizer, parameters_as_bucket_view=True, **defaults)
        self.defaults = self.optim.defaults  # those that were not given, too

    def state_dict(self) -> dict:
        """Of the optimizer inside with all its parameters, on the main process; all call this together."""
        self.consolidate_state_dict()
        state = super().state_dict() if is_main_process() else {}
        self._all_state_dicts = []
        return state

    def load_state_dict(self, state_dict: dict) -> None:
        """From the state of all parameters."""
        super().load_state_dict({**state_dict, 'state': dict(state_dict['state'])})
        self.state.clear()  # a second copy of what the optimizer inside has
        on_device = {parameter for group in self.optim.param_groups if group.get('fused') or group.get('capturable')
                     for parameter in group['params']}
        for parameter, state in self.optim.state.items():
            if parameter in on_device and 'step' in state:  # such kernels read it where the weights are
                state['step'] = state['step'].to(parameter.device)
