"""Parameter groups of the optimizer: which parameters decay, and how fast each layer learns."""
from __future__ import annotations

import difflib
from typing import NamedTuple

from mmengine.registry import OPTIMIZERS
from torch import nn

from mmdssl.arguments import NonNegative, Positive, checked
from mmdssl.engine.optim_wrapper import OptimWrapper
from mmdssl.engine.unwrap import unwrap
from mmdssl.errors import InputError
from mmdssl.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS

# All that comes before the first block of a transformer.
EMBEDDINGS = ('patch_embed', 'pos_embed', 'cls_token', 'reg_token', 'mask_token')
OPTIONS = ('layer_decay', 'decay_embeddings', 'decay_biases', 'decay_norms', 'bias_lr_mult')


class ParameterRule(NamedTuple):
    """How a parameter is trained.

    Attributes:
        name: Its name in the model.
        layer: Its layer: 0 for the embeddings, ``i + 1`` for block ``i``, ``depth + 1`` for everything behind the blocks; None
            without layer decay.
        lr_scale: Learning rate relative to the base one.
        decays: Whether weight decay applies.
    """
    name: str
    layer: int | None
    lr_scale: float
    decays: bool


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class OptimWrapperConstructor:
    """As few parameter groups as (learning-rate scale, weight decay or none) allows: fused optimizers stay fused.

    One for pretraining, classification, detection and segmentation. Frozen parameters are left out and tied ones come once, in the
    order of the model. A model with ``parameter_groups()``, such as a sweep of classifiers, decides about its groups itself.

    Args:
        optim_wrapper_cfg: ``optimizer`` (config), and the arguments of the wrapper, by default ours.
        paramwise_cfg: ``layer_decay``, the ratio r of BEiT's layer-wise learning rates: layer ``id`` of a transformer ``backbone`` of
            ``L`` blocks learns at ``r^(L + 1 - id)``, all heads and necks at 1; default 1. ``decay_embeddings``: position
            embeddings, class, register and mask tokens decay, as in DINO; default true, false in recipes of fine-tuning.
            ``decay_biases``: biases and parameters of one dimension decay, but for those of norms; default false. ``decay_norms``:
            those of norms decay; default false. ``bias_lr_mult``: biases, norms and parameters of one dimension learn at so many
            times the rate of the rest (Barlow Twins); default 1.

    Raises:
        InputError: Another key, or layer decay for a backbone without ``blocks``.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None):
        paramwise_cfg = paramwise_cfg or {}
        for key in paramwise_cfg:
            if key not in OPTIONS:
                close = difflib.get_close_matches(key, OPTIONS, n=1)
                raise InputError(f"optim_wrapper.paramwise_cfg has the key '{key}', which is read by nothing"
                                 + (f": did you mean '{close[0]}'?" if close else f' (known are {", ".join(OPTIONS)}): remove it, '
                                    "or set optim_wrapper.constructor='DefaultOptimWrapperConstructor'"))
        self.cfg = optim_wrapper_cfg
        self._set(**paramwise_cfg)

    @checked
    def _set(self, layer_decay: Positive = 1., decay_embeddings: bool = True, decay_biases: bool = False, decay_norms: bool = False,
             bias_lr_mult: NonNegative = 1.) -> None:
        self.layer_decay = layer_decay
        self.decay_embeddings = decay_embeddings
        self.decay_biases = decay_biases
        self.decay_norms = decay_norms
        self.bias_lr_mult = bias_lr_mult

    def __call__(self, model: nn.Module) -> OptimWrapper:
        wrapper, model = dict(self.cfg), unwrap(model)
        settings = dict(wrapper.pop('optimizer'))
        if hasattr(model, 'parameter_groups'):
            groups = model.parameter_groups()
            settings['lr'] = max(group['lr'] for group in groups)  # which is what the log tells
        else:
            groups = self.groups(model)
        optimizer = OPTIMIZERS.build(dict(settings, params=groups))
        wrapper.setdefault('type', 'mmdssl.OptimWrapper')
        return OPTIM_WRAPPERS.build(wrapper, default_args=dict(optimizer=optimizer))

    def groups(self, model: nn.Module) -> list[dict]:
        lr = self.cfg['optimizer'].get('lr')
        parameters = dict(model.named_parameters())
        groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
        for rule in self.rules(model):
            groups.setdefault((rule.lr_scale, rule.decays), []).append(parameters[rule.name])
        return [dict(params=group, **({} if decays else dict(weight_decay=0.)), **({} if scale == 1 else dict(lr=lr * scale)))
                for (scale, decays), group in sorted(groups.items(), key=lambda item: item[0][0] == 1)]  # the base rate comes last

    def rules(self, model: nn.Module) -> list[ParameterRule]:
        """How each trained parameter of a model is treated, in the model's order."""
        norms = {id(parameter) for module in model.modules() for parameter in module.parameters(recurse=False)
                 if isinstance(module, (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase))}
        depth = self._depth(model)
        rules = []
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                layer = None if depth is None else layer_of(name, depth)
                scale = 1. if depth is None else self.layer_decay**(depth + 1 - layer)
                of_norm = id(parameter) in norms
                of_bias = not of_norm and (parameter.ndim <= 1 or name.endswith('.bias'))
                if of_norm or of_bias:
                    scale *= self.bias_lr_mult
                decays = ((self.decay_norms if of_norm else self.decay_biases if of_bias else True)
                          and (self.decay_embeddings or name.split('.')[-1] not in EMBEDDINGS))
                rules.append(ParameterRule(name, layer, scale, decays))
        return rules

    def _depth(self, model: nn.Module) -> int | None:
        if self.layer_decay == 1:
            return None
        blocks = getattr(getattr(model, 'backbone', None), 'blocks', None)
        if blocks is None:
            raise InputError('optim_wrapper.paramwise_cfg.layer_decay needs model.backbone to be a transformer with `blocks`, such as '
                             'mmdssl.VisionTransformer: set it to 1')
        return len(blocks)


def layer_of(name: str, depth: int) -> int:
    """The layer of a parameter of a model with a transformer ``backbone`` of so many blocks (BEiT)."""
    parts = name.split('.')
    if parts[0] == 'backbone' and parts[1] in EMBEDDINGS:
        return 0
    if parts[:2] == ['backbone', 'blocks']:
        return int(parts[2]) + 1
    return depth + 1
