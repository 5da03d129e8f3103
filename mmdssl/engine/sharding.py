"""Pretraining of networks whose weights, gradients and optimizer are spread over the processes: FSDP2."""
from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.runner import Runner
from mmengine.utils import apply_to
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.optim import Optimizer

from mmdssl.engine.unwrap import unwrap
from mmdssl.errors import InputError
from mmdssl.models.algorithms.base import Algorithm
from mmdssl.models.classifier import Classifier
from mmdssl.models.layers.class_attention import ClassBlock
from mmdssl.registry import OPTIMIZERS

STRATEGIES = ('zero1', 'fsdp')


def check_strategy(strategy: str, model: nn.Module, processes: int) -> None:
    """
    Raises:
        InputError: The model of a config cannot be trained with this ``shard``.
    """
    if processes < 2:
        raise InputError(f"shard='{strategy}' spreads a network over processes, and there is one: start several with torchrun or "
                         'tools/dist_train.sh, or leave it out')
    if strategy != 'fsdp':
        return
    name = type(model).__name__
    if not isinstance(model, Algorithm) or isinstance(model, Classifier):
        raise InputError(f"shard='fsdp' is for pretraining, and {name} is no self-supervised method: use shard='zero1'")
    if model.writes_weights:
        raise InputError(f"{name} changes weights in its loss, which with shard='fsdp' are a copy: use shard='zero1'")
    if not any(isinstance(module, Block) for module in model.modules()):
        raise InputError(f"shard='fsdp' spreads a transformer block by block, and the backbone of this {name} has none: use shard='zero1'")


def shard(model: Algorithm, device: torch.device) -> Algorithm:
    """Spread a model over all processes, in place; it must be the same on each.

    Weights become DTensors that are cut along their first dimension: of student and teacher alike, so that one follows the other without
    communication. A transformer block gathers its weights whenever it runs. All others, those of embeddings, norms and heads, are
    gathered once, before the loss, whose code may thus read them wherever it likes. Buffers (centers, queues, batch statistics) stay
    whole and are each process's own, as with ``DistributedDataParallel``; gradients are averaged as there.

    A checkpoint of whole tensors can be loaded into the model as into any other; what needs whole weights otherwise finds them within
    :func:`whole`.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    mesh = init_device_mesh(torch.device(device).type, (torch.distributed.get_world_size(), ))
    plain, kind = _on_meta(model), type(model)
    for module in model.modules():
        if isinstance(module, (Block, ClassBlock)):
            fully_shard(_parts(module), mesh=mesh)
    fully_shard(model, mesh=mesh)
    type(model).__name__ = kind.__name__  # for messages and records
    model.data_preprocessor.to(device)
    model.plain = lambda: plain  # behind a function, it is no part of the model
    for module in model.modules():
        if module._parameters:
            module.register_load_state_dict_pre_hook(_take_shards)
    return model


def _parts(block: nn.Module) -> nn.Module | list[nn.Module]:
    """What of a block gathers its weights when it runs: all, unless the backbone reads a weight of it before."""
    if hasattr(getattr(block, 'attn', None), 'relative_position_bias_table'):
        return [block.attn.qkv, block.attn.proj, block.mlp]
    return block


def _on_meta(model: nn.Module) -> nn.Module:
    """A copy without values."""
    tensors = {id(p): nn.Parameter(p.detach().to('meta'), p.requires_grad) for p in model.parameters()}
    return copy.deepcopy(model, tensors | {id(b): b.to('meta') for b in model.buffers()})


def is_sharded(model: nn.Module) -> bool:
    return hasattr(model, 'plain')


@contextmanager
def whole(runner: Runner) -> Iterator[None]:
    """Where a runner's model is sharded, the runner has a model with whole weights in its place, to be read: on each process.

    All processes must enter together; inside, each may do as it likes.
    """
    model = unwrap(runner.model)
    if not is_sharded(model):
        yield
        return
    plain = model.plain()
    values = dict(model.named_parameters()) | dict(model.named_buffers())
    memo = {id(tensor): nn.Parameter(full_tensor(values[name]), tensor.requires_grad) for name, tensor in plain.named_parameters()}
    memo |= {id(tensor): values[name] for name, tensor in plain.named_buffers()}
    runner.model = copy.deepcopy(plain, memo)
    for name, module in model.named_modules():
        twin = runner.model.get_submodule(name)
        twin.training = module.training
        if type(module).get_extra_state is not nn.Module.get_extra_state:
            twin.set_extra_state(module.get_extra_state())
    runner.model.set_progress(model.progress)
    try:
        yield
    finally:
        runner.model = model


def full_tensor(value: Any) -> Any:
    """A DTensor's values on each process, which all call this together; anything else as it is."""
    return value.detach().full_tensor() if hasattr(value, 'full_tensor') else value


def full_state(state: dict, everywhere: bool = False) -> dict:
    """The state of an optimizer with whole tensors, on the CPU of the main process or of all; they call this together."""
    kept = everywhere or is_main_process()

    def gather(value: Tensor) -> Tensor | None:
        gathered = full_tensor(value)
        return gathered.cpu() if kept else None
    return apply_to(state, lambda value: hasattr(value, 'full_tensor'), gather)


def prepare_optimizer(optimizer: Optimizer) -> None:
    """Let an optimizer of sharded weights load a state of whole tensors.

    On a GPU it updates many tensors at once, as PyTorch's do by themselves, but not with DTensors.
    """
    optimizer.register_load_state_dict_pre_hook(_shard_state)
    for group in optimizer.param_groups:
        if group['params'][0].is_cuda and 'foreach' in group and group['foreach'] is None and not group.get('fused'):
            group['foreach'] = True


def _shard_state(optimizer: Optimizer, state: dict) -> dict:
    parameters = dict(zip((index for group in state['param_groups'] for index in group['params']),
                          (parameter for group in optimizer.param_groups for parameter in group['params'])))
    return {**state, 'state': {index: {name: _like(value, parameters.get(index)) for name, value in values.items()}
                               for index, values in state['state'].items()}}


def _take_shards(module: nn.Module, state: dict, prefix: str, *args) -> None:
    for name, parameter in module._parameters.items():
        if prefix + name in state:
            state[prefix + name] = _like(state[prefix + name], parameter)


def _like(value: Any, parameter: Tensor | None) -> Any:
    """This process's shard of a tensor of the shape of a sharded parameter; anything else as it is."""
    if not hasattr(parameter, 'device_mesh') or hasattr(value, 'device_mesh') or getattr(value, 'shape', None) != parameter.shape:
        return value
    from torch.distributed.tensor import distribute_tensor
    value = value.detach().to(parameter.device)
    return distribute_tensor(value, parameter.device_mesh, parameter.placements, src_data_rank=None)


def with_zero1(config: dict) -> dict:
    """The config of an optimizer wrapper whose optimizer keeps its state only of this process's share of the weights."""
    from mmdssl.engine.zero import ZeRO1
    optimizer = dict(config['optimizer'])
    kind = optimizer['type']
    return {**config, 'optimizer': dict(optimizer, type=ZeRO1, optimizer=kind if isinstance(kind, type) else OPTIMIZERS.get(kind))}
