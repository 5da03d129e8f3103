"""Parameter groups of the optimizer."""
from __future__ import annotations

from mmengine.registry import OPTIMIZERS
from torch import nn

from mmdssl.engine.optim_wrapper import OptimWrapper
from mmdssl.engine.unwrap import unwrap
from mmdssl.errors import InputError
from mmdssl.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class OptimWrapperConstructor:
    """As few parameter groups as (learning-rate scale, weight decay or none) allows: fused optimizers stay fused.

    Biases and parameters of at most one dimension do not decay; everything else does, position embeddings, class and
    mask tokens included, as in DINO. Frozen parameters are left out and tied ones come once, in the order of the
    model.

    Args:
        optim_wrapper_cfg: ``optimizer`` (config), and the arguments of the wrapper, by default ours.
        paramwise_cfg: MMEngine's; not used here.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None):
        if paramwise_cfg:
            raise InputError('optim_wrapper.paramwise_cfg is not read by mmdssl.OptimWrapperConstructor: remove it, or '
                             "set constructor='DefaultOptimWrapperConstructor'")
        self.cfg = optim_wrapper_cfg

    def __call__(self, model: nn.Module) -> OptimWrapper:
        wrapper = dict(self.cfg)
        optimizer = OPTIMIZERS.build(dict(wrapper.pop('optimizer'), params=self.groups(unwrap(model))))
        wrapper.setdefault('type', 'mmdssl.OptimWrapper')
        return OPTIM_WRAPPERS.build(wrapper, default_args=dict(optimizer=optimizer))

    def groups(self, model: nn.Module) -> list[dict]:
        lr = self.cfg['optimizer'].get('lr')
        groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                decays = parameter.ndim > 1 and not name.endswith('.bias')
                groups.setdefault((self.lr_scale(name), decays), []).append(parameter)
        return [dict(params=parameters, **({} if decays else dict(weight_decay=0.)),
                     **({} if scale == 1 else dict(lr=lr * scale)))
                for (scale, decays), parameters in groups.items()]

    def lr_scale(self, name: str) -> float:
        """Learning rate of a parameter relative to the base one."""
        return 1.
