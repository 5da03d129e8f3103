"""What processes tell each other and what they keep, of a training step by many, of which one is here."""
from __future__ import annotations

import importlib.util
from itertools import chain
from pathlib import Path
from types import ModuleType

import pytest
import torch
from mmengine.config import Config

ROOT = Path(__file__).parents[2]
ARCH, HEAD = dict(embed_dim=16, depth=2, num_heads=2), dict(num_prototypes=32, hidden_dim=16, bottleneck_dim=8)
METHODS = ('adclr', 'bam', 'beit', 'byol', 'densecl_vit', 'dino', 'looc', 'mae', 'maskfeat', 'mocov3', 'pqcl', 'selfpatch',
           'simclr', 'supcon', 'swav')
FEW, MANY = 64, 1024


@pytest.fixture(scope='module')
def load():
    def load_analysis(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f'mmdssl_analysis_{name}', ROOT / f'tools/analysis/{name}.py')
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    return load_analysis


def tiny(name: str) -> Config:
    """A small config whose transformers and heads are smaller still."""
    cfg = Config.fromfile(ROOT / f'configs/small/{name}.py')
    model = cfg.model
    if 'arch' in model.backbone:
        model.backbone.arch = ARCH
    for part in ('projector', 'predictor', 'dense_projector', 'head'):
        for sizes in (model.get(part, {}), *model.get(part, {}).values()):
            if isinstance(sizes, dict):
                sizes.update({key: size for key, size in {**HEAD, 'out_dim': 8}.items() if key in sizes})
    if 'decoder' in model:
        model.decoder.update(embed_dim=16, depth=1, num_heads=2)
    return cfg


@pytest.mark.parametrize('name', METHODS)
def test_nothing_grows_with_processes_times_images_but_what_a_method_needs(load, name):
    tool = load('collectives')
    few, many = (tool.step_of(tiny(name), ranks, 2) for ranks in (FEW, MANY))
    assert set(few) == set(many) and {asked.by for asked in few} > {'DistributedDataParallel'}
    growing = {asked.by for asked in few if many[asked].bytes > few[asked].bytes}
    assert growing <= set(tool.NEEDED)
    assert {many[asked].count for asked in many} == {few[asked].count for asked in few}
    assert bool(growing) == (name in ('bam', 'densecl_vit', 'looc', 'mocov3', 'simclr', 'supcon', 'swav'))


def test_weights_and_gradients_of_a_sharded_step_are_those_of_the_network(load):
    """Gathered in forward and backward, reduced once; with many processes shards are padded, so more is sent of so small a network."""
    tool, cfg = load('collectives'), tiny('dino')
    with tool.many(1):
        model = tool.MODELS.build(cfg.model)
    trained = sum(4 * p.numel() for p in model.parameters() if p.requires_grad)
    found = {asked.operation: total for asked, total in tool.step_of(cfg, 2, 2, 'fsdp').items() if asked.by == 'FSDP2'}
    assert set(found) == {'allgather_base', 'reduce_scatter_base'}
    assert trained <= found['reduce_scatter_base'].bytes < 1.1 * trained


@pytest.mark.parametrize('strategy', [None, 'zero1', 'fsdp'])
def test_memory_is_what_a_process_keeps(load, strategy):
    tool, cfg, processes = load('collectives'), tiny('dino'), 8
    predicted = load('memory').memory(load('memory').build(cfg, ARCH), strategy, processes)
    with tool.many(processes):
        model, optim_wrapper = tool.wrapped(cfg, strategy)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.zeros_like(parameter)
        optim_wrapper.optimizer.step()
        kept = [getattr(tensor, '_local_tensor', tensor) for tensor in (*model.parameters(), *model.buffers())]
        gradients = [getattr(p.grad, '_local_tensor', p.grad) for p in model.parameters() if p.grad is not None]
        optimizer = optim_wrapper.optimizer
        states = (optimizer.optim if strategy == 'zero1' else optimizer).state.values()
        moments = [getattr(value, '_local_tensor', value) for value in chain(*(state.values() for state in states)) if value.ndim]
    assert sum(x.numel() * x.element_size() for x in kept) == predicted.weights
    assert sum(x.numel() * x.element_size() for x in gradients) == predicted.gradients
    found = sum(x.numel() * x.element_size() for x in moments)
    assert found == predicted.moments or strategy == 'zero1' and predicted.moments <= found < 1.3 * predicted.moments
