"""Read a backbone from any published checkpoint, and load it so that every tensor is accounted for."""
from __future__ import annotations

import itertools
import json
import logging
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import timm
import torch
from mmengine.logging import print_log
from mmengine.model import update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS
from timm.layers import resample_abs_pos_embed
from timm.layers.pos_embed_rel import resize_rel_pos_bias_table_simple
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from mmdssl.arguments import checked
from mmdssl.checkpoint.architecture import (
    DEFAULTS,
    describe,
    is_our_vit,
    is_resnet,
    is_vit,
    own_config,
    run_model,
    side_of_frame,
    sizes_of,
    stored_config,
    stored_pixels,
)
from mmdssl.checkpoint.config_data import check_buildable
from mmdssl.checkpoint.download import is_address
from mmdssl.checkpoint.files import read_checkpoint, read_safetensors
from mmdssl.checkpoint.layout import Pretrained
from mmdssl.checkpoint.layouts import recognise
from mmdssl.checkpoint.networks import ANCHORS, IMAGENET, find_network, flatten, is_sincos, some
from mmdssl.checkpoint.of_timm import OfTimm
from mmdssl.checkpoint.weights import check_weights
from mmdssl.errors import InputError
from mmdssl.models.backbones import TimmBackbone
from mmdssl.models.layers.position import resize_table
from mmdssl.registry import MODELS

# Facts that no shape shows.
HIDDEN = ('num_heads', 'position_rule', 'img_size', 'norm_eps', 'style')


@dataclass
class LoadReport:
    """What became of every tensor of a checkpoint and of a backbone.

    Attributes:
        path: Of the checkpoint.
        layout: Name of its layout.
        prefix: Where in the file the backbone was.
        matched: Tensors that were copied.
        resized: Tables that were copied after a resize: their shapes before and after.
        ignored: Tensors of the file that were not: why.
        missing: Tensors of the backbone that keep their initial values: why.
        unexpected: Tensors of the file that no rule explains; none where loading succeeded.
    """
    path: str
    layout: str
    prefix: str
    matched: list[str] = field(default_factory=list)
    resized: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    unexpected: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        where = f' ({self.prefix}*)' if self.prefix else ''
        kept = f', {len(self.missing)} of the backbone keep their initial values' if self.missing else ''
        return (f'{self.path}: layout {self.layout}{where}, {len(self.matched)} tensors matched, {len(self.resized)} '
                f'resized, {len(self.ignored)} ignored{kept}')


def read_pretrained(path: str | Path, network: str | None = None, layout: str | None = None) -> Pretrained:
    """Read the backbone of a checkpoint.

    Args:
        path: A ``.pth`` or ``.safetensors`` file, or an http(s) address of one, which may end in ``#sha256=...``, see
            :func:`mmdssl.checkpoint.download.fetch`.
        network: ``'teacher'`` or ``'student'`` where the file has both; None for the one that the method's authors
            evaluate, which is the teacher of DINO and its heirs, and the trained encoder of MoCo and BYOL.
        layout: Force one of :data:`mmdssl.checkpoint.layouts.LAYOUTS` instead of recognising it.

    Raises:
        InputError: The file cannot be read safely, is damaged, holds no network that is known, or its weights are no numbers or not
            those of the config that it carries.
    """
    path = str(path)
    in_safetensors = urlsplit(path).path.endswith('.safetensors') if is_address(path) else path.endswith('.safetensors')
    content, metadata = read_safetensors(path) if in_safetensors else (read_checkpoint(path), {})
    tensors, model, facts = flatten(content), run_model(content), metadata or content
    beside, processor = (_json_beside(path, name) for name in ('config.json', 'preprocessor_config.json'))
    theirs = any('embeddings.patch_embeddings.' in name for name in tensors)
    stored = stored_config(model, facts, beside if theirs else {})
    own = own_config(stored)
    inside = None if own is None or is_our_vit(own) else 'network.' if own['type'].endswith('.TimmBackbone') else ''
    net = find_network(tensors, path, network, inside)
    net.own, net.stored, net.beside, net.safetensors = own, stored, beside, in_safetensors
    net.pixels = stored_pixels(model, facts, beside, processor) or net.pixels
    given = recognise(net, layout).read(net)
    config = given.config
    if config['type'].startswith('mmdssl.') and not is_our_vit(config) and config.get('name', '') is not None:
        check_buildable(config, path)
        check_fit(given)
    return given


def check_fit(given: Pretrained) -> None:
    """Check that a network of its config takes all of the weights, before any memory is taken for it.

    Of a ResNet, which may have any width, only names are compared.

    Raises:
        InputError: Naming what does not fit, or why there is no such network.
    """
    if is_resnet(given.state) and 'depth' in given.config:
        with torch.device('meta'):
            missing = [name for name in timm.create_model(f'resnet{given.config["depth"]}', num_classes=0).state_dict()
                       if name not in given.state and not _optional(name)]
        if missing:
            raise InputError(f'{given} is no whole ResNet-{given.config["depth"]}: {len(missing)} tensors are missing ({some(missing)}): '
                             'get the whole file')
        return
    for device in ('meta', 'cpu'):  # not every class can do without values
        try:
            network = _drawn(given, device)
            break
        except InputError:
            raise
        except Exception as error:  # whatever a constructor makes of what somebody put into a file
            failure = f'{type(error).__name__}: {error}'
    else:
        raise InputError(f'{given.path} carries the config {_in_words(given.config)}, of which no network can be built ({failure}): it is '
                         'damaged, or made with another version')
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', '.*copying from a non-meta parameter')
        load_pretrained(network, given)


def _drawn(given: Pretrained, device: str) -> nn.Module:
    """The network of a stored config, unless that has far more parameters than the file."""
    parameters = itertools.count(1)

    def stop(*_) -> None:
        if next(parameters) > 100 + 10 * len(given.state):  # a class may build its network more than once
            raise InputError(f'{given} does not fit the config that it carries, whose network has far more than its {len(given.state)} '
                             'tensors: it is damaged, or was written by something else')
    handle = register_module_parameter_registration_hook(stop)
    try:
        with torch.device(device):
            return MODELS.build(dict(given.config))
    finally:
        handle.remove()


def _json_beside(path: str, name: str) -> dict:
    """What a JSON file in the same folder says; nothing where there is none."""
    file = Path(path).with_name(name)
    try:
        content = json.loads(file.read_text()) if file.is_file() else {}
    except (ValueError, RecursionError, OSError):
        content = {}
    return content if isinstance(content, dict) else {}


def backbone_config(path: str | Path | Pretrained, network: str | None = None, layout: str | None = None) -> dict:
    """Config of the backbone that fits a checkpoint, of scoped type: ``mmdssl.VisionTransformer``, ``mmdet.ResNet``, or
    another one of ours, where the checkpoint says so.

    Args: as :func:`read_pretrained`, whose result may be given too.

    Raises:
        InputError: Also where nothing tells the number of heads.
    """
    pretrained = path if isinstance(path, Pretrained) else read_pretrained(path, network, layout)
    config = pretrained.config
    if config.get('name', '') is None:
        raise InputError(f"{pretrained.path} does not tell which of timm's networks it is for: put the config.json of its folder beside "
                         "it, or write the config of the backbone yourself, dict(type='mmdssl.TimmBackbone', name=..., "
                         "init_cfg=dict(type='SSLPretrained', ...))")
    if config.get('depth', 0) is None:
        raise InputError(f'{pretrained.path} holds a ResNet of unusual depth: give a ResNet-18, -34, -50, -101 or -152')
    if isinstance(config.get('arch'), dict) and config['arch']['num_heads'] is None:
        raise InputError(f'{pretrained.path} does not tell how many heads its network of width '
                         f'{config["arch"]["embed_dim"]} has: write the config of the backbone yourself, with '
                         "init_cfg=dict(type='SSLPretrained', ...)")
    return config


def load_pretrained(backbone: nn.Module, source: str | Path | Pretrained, network: str | None = None,
                    layout: str | None = None, overrule: Sequence[str] = ()) -> LoadReport:
    """Load a checkpoint into a backbone: all of it, or nothing and an error.

    Tables of positions are resized in fp32 where the frames differ. By rule, only these may be left over: heads,
    decoders and other networks of the file, a mask token that only one side has, the pyramid, and stages that a part of
    a ResNet does not have.

    Args:
        backbone: Ours, timm's vision transformer, or a ResNet of mmdet, mmseg, timm or torchvision.
        source: File or address, see :func:`read_pretrained`, or its result.
        network: See :func:`read_pretrained`.
        layout: The same.
        overrule: Facts that no shape shows, of ``num_heads``, ``position_rule``, ``img_size``, ``norm_eps`` and ``style``, in which
            the backbone may differ from what the checkpoint implies.

    Raises:
        InputError: Naming what does not fit and the likely cause; the backbone is unchanged.
    """
    given = source if isinstance(source, Pretrained) else read_pretrained(source, network, layout)
    unknown = [fact for fact in overrule if fact not in HIDDEN]
    if unknown:
        raise InputError(f'overrule names {", ".join(unknown)}: only {", ".join(HIDDEN)} can be overruled')
    if isinstance(backbone, TimmBackbone):
        backbone = backbone.network
    own, state = backbone.state_dict(), dict(given.state)
    check_weights(given.path, {name: state[name] for name in own if name in state}, own)
    report = LoadReport(given.path, given.layout, given.prefix, ignored=dict(given.ignored))
    if given.layout == OfTimm.name and 'pos_embed' in state and state['pos_embed'].shape != own.get('pos_embed', state['pos_embed']).shape:
        grid, slots = backbone.patch_embed.grid_size, getattr(backbone, 'num_prefix_tokens', 0)
        table, state['pos_embed'] = state['pos_embed'], resample_abs_pos_embed(state['pos_embed'], grid, num_prefix_tokens=slots)
        report.resized['pos_embed'] = (tuple(table.shape), tuple(state['pos_embed'].shape))
    if is_our_vit(given.config) and is_vit(own):
        _check_shapes(given, own)
        _fit_positions(backbone, given, state, own, report)
        _fit_relative_positions(backbone, state, own, report)
    _check_hidden_facts(backbone, given, own, overrule)
    _account(state, own, report)
    if report.unexpected or any(not reason for reason in report.missing.values()):
        raise InputError(_mismatch(given, state, own, report))
    backbone.load_state_dict({name: state[name] for name in [*report.matched, *report.resized]}, strict=False)
    return report


def _check_shapes(given: Pretrained, own: dict[str, Tensor]) -> None:
    theirs, ours = describe(given.state), describe(own)
    different = [f'{name} is {theirs[name]} in the file and {ours[name]} in the backbone' for name in ours
                 if theirs[name] != ours[name]]
    if different:
        raise InputError(f'{given} does not fit the backbone: {"; ".join(different)}: build the backbone that '
                         f'mmdssl.checkpoint.backbone_config gives, {_in_words(given.config)}')


def _in_words(config: dict) -> str:
    return f'dict({", ".join(f"{key}={value!r}" for key, value in config.items())})'


def _check_hidden_facts(backbone: nn.Module, given: Pretrained, own: dict[str, Tensor],
                        overrule: Sequence[str]) -> None:
    """Compare what shapes do not show, as far as both sides tell."""
    config = {**DEFAULTS, **given.config}
    facts = {}
    if is_resnet(given.state):
        facts['style'] = config.get('style', 'pytorch'), getattr(backbone, 'style', None)
    elif is_our_vit(given.config) and is_vit(own):
        attention = dict(backbone.named_modules()).get('blocks.0.attn')
        facts['num_heads'] = sizes_of(config)['num_heads'], getattr(attention, 'num_heads', None)
        facts['norm_eps'] = config['norm_eps'], getattr(backbone, 'norm_eps', None)
        if 'pos_embed' in own:
            facts['position_rule'] = config['position_rule'], getattr(backbone, 'position_rule', None)
        elif getattr(backbone, 'position', None) == 'sincos':  # its frame is the unit of its positions
            facts['img_size'] = config['img_size'], backbone.frame[0] * backbone.patch_size
    for fact, (theirs, ours) in facts.items():
        if None not in (theirs, ours) and theirs != ours and fact not in overrule:
            raise InputError(f'{given} was made with {fact}={theirs!r} and the backbone has {ours!r}, which no shape '
                             'shows but changes what it computes: set it so, or allow it with '
                             f"overrule=('{fact}', )")


def _fit_positions(backbone: nn.Module, given: Pretrained, state: dict[str, Tensor], own: dict[str, Tensor],
                   report: LoadReport) -> None:
    """Bring the table of positions to the backbone's frame and slots, or explain why there is none on one side."""
    num_class = int('cls_token' in state)
    theirs, ours = given.config.get('position', 'learnable'), getattr(backbone, 'position', None)
    if 'pos_embed' not in state:
        if ours is not None and ours != theirs:
            raise InputError(f"{given} has position='{theirs}' and the backbone position='{ours}': set it so")
        return
    table = state['pos_embed']
    if 'pos_embed' not in own:
        fixed = ours == 'sincos'
        if not (fixed and is_sincos(table[:, num_class:])):
            raise InputError(f'{given} has a table of positions and the backbone has none'
                             f"{' (its fixed ones are others)' if fixed else ''}: set its position to 'learnable'")
        report.ignored[f'{given.prefix}pos_embed'] = 'equals the fixed positions of the backbone'
        del state['pos_embed']
        return
    grid = tuple(getattr(backbone, 'frame', None) or backbone.patch_embed.grid_size)
    slots = own['pos_embed'].shape[1] - grid[0] * grid[1]
    patches = resize_table(table[:, num_class:], grid, {**DEFAULTS, **given.config}['position_rule'])
    cls = table[:, :num_class]
    if slots < num_class:  # timm's no_embed_class
        state['cls_token'] = state['cls_token'] + cls
        cls = cls[:, :0]
    registers = table.new_zeros(1, slots - cls.shape[1], table.shape[2])
    state['pos_embed'] = torch.cat([cls, registers, patches.to(table.dtype)], dim=1)
    if grid != (side_of_frame(given.state), ) * 2:
        report.resized['pos_embed'] = (tuple(table.shape), tuple(state['pos_embed'].shape))


def _fit_relative_positions(backbone: nn.Module, state: dict[str, Tensor], own: dict[str, Tensor],
                            report: LoadReport) -> None:
    grid = tuple(getattr(backbone, 'frame', None) or backbone.patch_embed.grid_size)
    tables = [name for name in state if name.endswith('relative_position_bias_table')]
    shared = sum(name.endswith('relative_position_bias_table') for name, _ in backbone.named_parameters()) == 1
    if shared and any(not torch.equal(state[name], state[tables[0]]) for name in tables):
        raise InputError(f'{report.path} has other relative positions in each block, and the backbone shares one table among them: set '
                         'its relative_position=True')
    for name in tables:
        table = state[name]
        if name in own and len(table) != len(own[name]):
            state[name] = resize_rel_pos_bias_table_simple(table.float(), grid, own[name].shape)
            report.resized[name] = (tuple(table.shape), tuple(own[name].shape))


def _account(state: dict[str, Tensor], own: dict[str, Tensor], report: LoadReport) -> None:
    """Sort every tensor of both sides into the report; an empty reason marks an error."""
    parts = {name.split('.')[0] for name in own}
    for name, tensor in state.items():
        part = name.split('.')[0]
        if name in report.resized:
            continue
        if name in own and tensor.shape == own[name].shape:
            report.matched.append(name)
        elif re.fullmatch('(conv|bn|layer)[1-4]', part) and part not in parts:
            report.ignored[f'{report.prefix}{name}'] = f'the module has no {part}'
        elif name not in own and (reason := _optional(name)):
            report.ignored[f'{report.prefix}{name}'] = reason
        else:
            report.unexpected.append(name)
    report.missing = {name: _optional(name) for name in own if name not in state}


def _optional(name: str) -> str:
    """Why a tensor may be on one side only; empty where it may not."""
    if name.startswith('pyramid.'):
        return 'the pyramid belongs to the task'
    if name.rpartition('.')[2] == 'mask_token':
        return 'only needed to mask patches'
    return 'no weight' if name.endswith(('num_batches_tracked', 'relative_position_index')) else ''


def _mismatch(given: Pretrained, state: dict[str, Tensor], own: dict[str, Tensor], report: LoadReport) -> str:
    """What does not fit, and the likely cause."""
    wrong = {
        'are missing': [name for name, reason in report.missing.items() if not reason],
        'are unexpected': [name for name in report.unexpected if name not in own],
        'have another shape': [f'{name} {tuple(state[name].shape)} for {tuple(own[name].shape)}'
                               for name in report.unexpected if name in own]}
    parts = [f'{len(names)} tensors {what} ({some(names)})' for what, names in wrong.items() if names]
    inside = next((name[:-len(anchor)] for anchor in ANCHORS for name in own if name.endswith(f'.{anchor}')), None)
    if inside:
        cause = (f"this is a whole model with its backbone in '{inside}': load into that, with init_cfg in the config "
                 'of the backbone')
    elif not report.matched:
        cause = f'the file holds a {given.config["type"]}, which is another kind of network'
    else:
        cause = f'the network was built in another way: compare with {_in_words(given.config)}'
    return f'{given} does not fit: {"; ".join(parts)}: {cause}'


@WEIGHT_INITIALIZERS.register_module(force=True)  # in place of what only loads it, see mmdssl/__init__.py
@checked
class SSLPretrained:
    """``init_cfg=dict(type='SSLPretrained', checkpoint=...)`` of a backbone in any project on MMEngine.

    It is :func:`load_pretrained`; modules whose weights came from the file are not initialised again after it. In a
    list of several initialisers it comes last.

    Args:
        checkpoint: See :func:`read_pretrained`.
        network: The same.
        layout: The same.
        overrule: See :func:`load_pretrained`.
    """

    def __init__(self, checkpoint: str | Path, network: Literal['teacher', 'student'] | None = None, layout: str | None = None,
                 overrule: Sequence[str] = ()):
        self.checkpoint = checkpoint
        self.network = network
        self.layout = layout
        self.overrule = overrule

    def __call__(self, module: nn.Module) -> None:
        given = read_pretrained(self.checkpoint, self.network, self.layout)
        report = load_pretrained(module, given, overrule=self.overrule)
        loaded = [*report.matched, *report.resized]
        for name, child in module.named_modules():
            # MMEngine runs the children's own init_weights after this, which would overwrite what was loaded.
            if name and any(key.startswith(f'{name}.') for key in loaded):
                child.is_init = True
        if hasattr(module, '_params_init_info'):
            update_init_info(module, f'SSLPretrained: load from {self.checkpoint}')
        print_log(str(report), logger='current')
        if given.pixels != IMAGENET:
            levels = {name: [round(255 * value, 3) for value in values] for name, values in given.pixels.items()}
            print_log(f'{given.path} was made with images normalised by {levels} (of 0 to 255): see that data_preprocessor in the config '
                      'does the same', logger='current', level=logging.WARNING)
