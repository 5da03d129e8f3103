"""Damage checkpoints in every way that disks, downloads and strangers do, and load them in every way there is.

    python tools/analysis/damaged_checkpoints.py OUT [--more FOLDER]

Sound files are made first: a tiny DINO is trained for an epoch, its backbone is exported, and converted to timm's and Hugging Face's
names; a small network of timm stands beside it. Then, one at a time, each file is cut short, gets flipped or zeroed bytes, other content
under its name, pickles that call functions, tensors that are missing, renamed, turned or no numbers, configs with absurd values, or loses
parts of a training checkpoint; and is given to ``load_backbone``, ``convert_checkpoint``, ``--pretrained``, ``--resume``, ``load_from`` (as
``tools/test.py`` does) and ``replay``; some also to the commands themselves.

A case is fine if what was loaded equals the sound weights to the bit, as it must where a flipped byte is one of padding. Bytes of
tensors are flipped only where a file has a checksum: zip archives of ``torch.save``, and what this package writes. ``--more`` takes a
folder of further ``.pth`` and ``.safetensors`` files, to be cut short and flipped too.
"""
from __future__ import annotations

import argparse
import bz2
import gzip
import io
import json
import os
import pickle
import random
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from campaign import FINE, REFUSED, Case, report, run_cases
from mmengine.config import Config
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from mmdssl.checkpoint import backbone_config, convert_checkpoint, load_backbone, read_pretrained, save_backbone
from mmdssl.checkpoint.fingerprint import STATED, stated
from mmdssl.cli.guard import guarded
from mmdssl.engine.own_weights import use_weights
from mmdssl.engine.replay import replay, save_replay
from mmdssl.registry import MODELS, RUNNERS

ROOT = Path(__file__).parents[2]
CONFIG = """
default_scope = 'mmdssl'
model = dict(
    type='DINO',
    backbone=dict(type='VisionTransformer', arch=dict(embed_dim=16, depth=2, num_heads=2), patch_size=8, img_size=16),
    head=dict(num_prototypes=8, hidden_dim=16, bottleneck_dim=8))
train_dataloader = dict(
    batch_size=4, drop_last=True, sampler=dict(type='EpochSampler'), collate_fn=dict(type='mmdssl.collate_views'),
    dataset=dict(type='ImageFolder', data_root={data!r},
                 views=dict(global_=dict(type='CropViews', size=16, scale=(0.25, 1.0), num=2))))
train_cfg = dict(type='TrainLoop', max_epochs=1)
optim_wrapper = dict(type='OptimWrapper', constructor='OptimWrapperConstructor', optimizer=dict(type='AdamW', lr=1e-3))
default_hooks = dict(logger=dict(type='LoggerHook', interval=1), checkpoint=dict(type='CheckpointHook', interval=1))
custom_hooks = [dict(type='AlgorithmHook'), dict(type='ExportBackboneHook')]
log_processor = dict(type='LogProcessor')
randomness = dict(seed=0)
"""
EITHER = FINE + REFUSED
WRONG_WEIGHTS = 3  # exit code

Damage = Callable[[Path], None]


class Bench:
    """The sound files, and what each way to load them must give."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.marker = folder / 'harmed'
        data = folder / 'images'
        data.mkdir(parents=True)
        for i in range(8):
            pixels = np.random.default_rng(i).integers(0, 255, (20, 24, 3), np.uint8)
            Image.fromarray(pixels).save(data / f'{i}.png')
        self.config = folder / 'tiny.py'
        self.config.write_text(CONFIG.format(data=str(data)))
        runner = RUNNERS.build(self.cfg('run'))
        runner.train()
        self.run = folder / 'run/epoch_1.pth'
        self.backbone = folder / 'run/backbone.safetensors'
        self.replay = save_replay(runner, next(iter(runner.train_dataloader)), 0, {})
        self.timm, self.weights, self.hf = folder / 'timm.safetensors', folder / 'weights.pth', folder / 'hf/model.safetensors'
        self.hf.parent.mkdir()
        for target, form in ((self.timm, 'timm'), (self.weights, 'mmdssl'), (self.hf, 'huggingface')):
            convert_checkpoint(self.backbone, target, form)
        self.of_timm = folder / 'resnet.safetensors'
        config = dict(type='TimmBackbone', name='resnet10t', model_args=dict(channels=[8, 8, 8, 8], stem_width=8))
        save_backbone(MODELS.build(config), self.of_timm, config)
        self.legacy = folder / 'legacy.pth'
        torch.save(torch.load(self.weights), self.legacy, _use_new_zipfile_serialization=False)
        self.losses = replay(self.replay, 'cpu')

    def cfg(self, name: str, **changes) -> Config:
        cfg = Config.fromfile(self.config)
        cfg.merge_from_dict(dict(work_dir=str(self.folder / name), experiment_name=name.replace('/', '_'), launcher='none', **changes))
        return cfg

    def loaders(self, path: Path) -> dict[str, Callable[[Path, Path], int]]:
        """Ways to load what stands in the place of a sound file; each takes the damaged file and a folder to write to."""
        if path == self.replay:
            return dict(replay=lambda file, _: same(replay(file, 'cpu'), self.losses))
        found = dict(load=partial(self._load, load_backbone(path).state_dict()),
                     convert=partial(self._convert, read_pretrained(path).state))
        if path != self.of_timm and backbone_config(path)['type'].endswith('VisionTransformer'):
            found['pretrained'] = partial(self._pretrained, load_backbone(path).state_dict())
        if path == self.run:
            weights = torch.load(path, weights_only=False)['state_dict']
            found.update({name: partial(self._model, weights, name == 'resume') for name in ('resume', 'load_from')})
        return found

    def _load(self, sound: dict[str, Tensor], file: Path, _: Path) -> int:
        return same(load_backbone(file).state_dict(), sound)

    def _convert(self, sound: dict[str, Tensor], file: Path, folder: Path) -> int:
        convert_checkpoint(file, folder / 'converted.safetensors', 'mmdssl')
        return same(load_file(folder / 'converted.safetensors'), sound)

    def _pretrained(self, sound: dict[str, Tensor], file: Path, folder: Path) -> int:
        cfg = self.cfg(str(folder.relative_to(self.folder)))
        use_weights(cfg, str(file))
        cfg.model.backbone.pop('drop_path_rate', None)
        model = MODELS.build(cfg.model)
        model.init_weights()
        return same(model.backbone.state_dict(), sound)

    def _model(self, sound: dict[str, Tensor], resume: bool, file: Path, folder: Path) -> int:
        runner = RUNNERS.build(self.cfg(str(folder.relative_to(self.folder)), resume=resume, load_from=str(file)))
        if resume:
            runner.train()  # whose only epoch is over
        else:
            runner.load_or_resume()
        return same(runner.model.state_dict(), sound)


def same(loaded: dict[str, Any], sound: dict[str, Any]) -> int:
    equal = loaded.keys() == sound.keys() and all(
        torch.equal(value, sound[name]) if isinstance(value, Tensor) else value == sound[name] for name, value in loaded.items())
    if not equal:
        print('other weights than those of the sound file were loaded')
    return 0 if equal else WRONG_WEIGHTS


# --- Damages of bytes ---------------------------------------------------------------------------------------------------------------

def of_bytes(change: Callable[[bytes], bytes]) -> Damage:
    return lambda path: path.write_bytes(change(path.read_bytes())) and None


def cut(fraction: float, content: bytes) -> bytes:
    return content[:int(fraction * len(content))]


def flip(place: int, bit: int, content: bytes) -> bytes:
    changed = bytearray(content)
    changed[place] ^= 1 << bit
    return bytes(changed)


def blank(start: int, length: int, content: bytes) -> bytes:
    return content[:start] + bytes(min(length, len(content) - start)) + content[start + length:]


def damages_of_bytes(path: Path, flips: int, cuts: int = 10) -> Iterator[tuple[str, Damage]]:
    size, draw = path.stat().st_size, random.Random(path.name)
    for i in range(cuts):
        yield f'cut-{i}', of_bytes(partial(cut, (i + 1) / (cuts + 1)))
    for missing in (1, 2, 100):
        yield f'cut-last-{missing}', of_bytes(lambda content, missing=missing: content[:-missing])
    yield 'grown', of_bytes(lambda content: content + bytes(512))
    yield 'first-bytes-lost', of_bytes(lambda content: content[16:])
    yield 'twice', of_bytes(lambda content: content + content)
    header = 8 + int.from_bytes(path.read_bytes()[:8], 'little') if path.suffix == '.safetensors' else size // 20
    # Some in the header, some anywhere, some near the end (the directory of a zip archive).
    for name, start, end in (('header', 0, header), ('data', 0, size), ('end', size - min(size // 10, 4000), size)):
        for i in range(flips // 3):
            place, bit = draw.randrange(start, end), draw.randrange(8)
            yield f'flip-{name}-{i}', of_bytes(partial(flip, place, bit))
    for i in range(flips // 4):
        yield f'blank-{i}', of_bytes(partial(blank, draw.randrange(size), draw.choice((4, 64, 4096))))


def other_contents() -> Iterator[tuple[str, bytes]]:
    """What stands under a checkpoint's name instead."""
    yield 'empty', b''
    yield 'zeros', bytes(4096)
    yield 'one-byte', b'\x80'
    yield 'noise', random.Random(0).randbytes(4096)
    yield 'html', b'<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>'
    yield 'html-late', b'\n\n  <html lang="en"><body>404</body></html>'
    yield 'xml', b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code></Error>'
    yield 'lfs', b'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22e\nsize 1\n'
    yield 'json', json.dumps(dict(state_dict={})).encode()
    yield 'json-deep', b'[' * 100_000
    yield 'text', b'Please ask the authors for the weights.'
    yield 'utf16', 'weights'.encode('utf-16')
    yield 'csv', b'epoch,loss\n1,2.5\n'
    yield 'gzip', gzip.compress(b'weights')
    yield 'bzip2', bz2.compress(b'weights')
    yield 'python', b'import os\nos.system("true")\n'
    for form in ('png', 'jpeg', 'gif'):
        stream = io.BytesIO()
        Image.new('RGB', (8, 8)).save(stream, form)
        yield form, stream.getvalue()
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode='w') as archive:
        archive.addfile(tarfile.TarInfo('weights.pth'))
    yield 'tar', stream.getvalue()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, 'w') as archive:
        archive.writestr('readme.txt', 'none')
    yield 'zip', stream.getvalue()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('a/data.pkl', bytes(10**8))
    yield 'bomb', stream.getvalue()
    stream = io.BytesIO()
    np.savez(stream, weight=np.ones(3))
    yield 'npz', stream.getvalue()
    stream = io.BytesIO()
    np.save(stream, np.ones(3))
    yield 'npy', stream.getvalue()
    yield 'safetensors-huge-header', (2**62).to_bytes(8, 'little') + b'{}'
    yield 'safetensors-huge-tensor', _safetensors('{"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,4]}}', bytes(4))
    yield 'safetensors-overlap', _safetensors('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
                                              '"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(4))
    yield 'safetensors-nothing', _safetensors('{}', b'')
    yield 'pickle-of-nothing', pickle.dumps(None, 2)
    yield 'pickle-deep', b'\x80\x02' + b'(' * 50_000


def _safetensors(header: str, data: bytes) -> bytes:
    return len(header).to_bytes(8, 'little') + header.encode() + data


# --- Pickles that call functions ----------------------------------------------------------------------------------------------------

class Call:

    def __init__(self, function: Callable, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Built:
    """Sets attributes on what another call returns."""

    def __init__(self, marker: str):
        self.marker = marker

    def __reduce__(self):
        return Config, (), dict(filename=Call(os.system, f'touch {self.marker}'))


def hostile_objects(marker: Path) -> dict[str, Any]:
    write = f'open({str(marker)!r}, "w").close()'
    return {
        'system': Call(os.system, f'touch {marker}'),
        'popen': Call(subprocess.Popen, ['touch', str(marker)]),
        'check-output': Call(subprocess.check_output, ['touch', str(marker)]),
        'eval': Call(eval, write),
        'exec': Call(exec, write),
        'open': Call(open, str(marker), 'w'),
        'import': Call(__import__, 'antigravity'),
        'getattr': Call(getattr, Call(__import__, 'os'), 'system'),
        'torch-load': Call(torch.load, str(marker.with_name('inner.pth'))),
        'torch-save': Call(torch.save, 1, str(marker)),
        'numpy-save': Call(np.save, str(marker), 1),
        'numpy-load': Call(np.load, str(marker), None, True),
        'config': Call(Config.fromstring, write, '.py'),
        'built': Built(str(marker)),
        'partial': partial(os.system, f'touch {marker}'),
        'path': Call(Path.touch, Path(marker)),
    }


def hostile_files(bench: Bench) -> Iterator[tuple[str, Callable[[dict], bytes]]]:
    """Functions that put something hostile into a sound content and pickle it."""
    for name, thing in hostile_objects(bench.marker).items():
        for form in ('zip', 'legacy', 'protocol-4', 'bare-0', 'meta', 'weights'):
            yield f'{name}-{form}', partial(_with_hostile, thing, form)


def _with_hostile(thing: Any, form: str, content: dict) -> bytes:
    content = dict(content)
    if form == 'meta' and 'meta' in content:
        content['meta'] = dict(content['meta'], time=thing)
    elif form == 'weights':
        content['state_dict'] = dict(content.get('state_dict', {}), **{'head.weight': thing})
    else:
        content['extra'] = thing
    if form == 'bare-0':
        return pickle.dumps(thing, 0)
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=form != 'legacy', pickle_protocol=4 if form == 'protocol-4' else 2)
    return stream.getvalue()


# --- Damages of tensors -------------------------------------------------------------------------------------------------------------

def damages_of_tensors() -> dict[str, Callable[[dict[str, Tensor], str], None]]:
    """By name; each changes tensors in place, one of which it is told."""

    def set_to(change: Callable[[Tensor], Tensor]) -> Callable[[dict[str, Tensor], str], None]:
        return lambda tensors, name: tensors.update({name: change(tensors[name])})

    def one_value(value: float) -> Callable[[Tensor], Tensor]:
        def change(tensor: Tensor) -> Tensor:
            tensor = tensor.clone()
            tensor.flatten()[-1:].fill_(value)
            return tensor
        return change

    return {
        'missing': lambda tensors, name: tensors.pop(name),
        'renamed': lambda tensors, name: tensors.update({f'{name}x': tensors.pop(name)}),
        'extra': lambda tensors, name: tensors.update({f'{name.rpartition(".")[0]}.other': tensors[name].clone()}),
        'turned': set_to(lambda tensor: tensor.transpose(0, -1).contiguous() if tensor.dim() > 1 else tensor[:-1].clone()),
        'flat': set_to(lambda tensor: tensor.flatten() if tensor.dim() > 1 else tensor[None]),
        'a-dimension-more': set_to(lambda tensor: tensor[..., None]),
        'half': set_to(lambda tensor: tensor[:(len(tensor) + 1) // 2].clone() if len(tensor) > 1 else tensor[..., :-1].clone()),
        'none-of-it': set_to(lambda tensor: tensor[:0].clone()),
        'scalar': set_to(lambda tensor: tensor.flatten()[0].clone()),
        'nan': set_to(one_value(float('nan'))),
        'inf': set_to(one_value(float('inf'))),
        'minus-inf': set_to(one_value(-float('inf'))),
        'int': set_to(lambda tensor: tensor.to(torch.int64)),
        'uint8': set_to(lambda tensor: tensor.to(torch.uint8)),
        'bool': set_to(lambda tensor: tensor > 0),
    }


def kinds_of_pickled_tensors() -> dict[str, Callable[[Tensor], Any]]:
    """What only a ``.pth`` file can hold in the place of a tensor."""
    return {
        'complex': lambda tensor: tensor.to(torch.complex64),
        'sparse': lambda tensor: tensor.to_sparse(),
        'meta': lambda tensor: tensor.to('meta'),
        'expanded': lambda tensor: torch.ones(1).expand(10**6, 10**6),
        'quantised': lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8),
        'number': lambda tensor: 3.,
        'nothing': lambda tensor: None,
        'list': lambda tensor: tensor.tolist(),
        'array': lambda tensor: tensor.numpy(),
    }


# --- Configs and the rest of a checkpoint -------------------------------------------------------------------------------------------

def absurd_configs() -> Iterator[tuple[str, dict]]:
    """Changes of the config that a backbone carries."""
    arch = dict(embed_dim=16, depth=2, num_heads=2)
    for key, values in dict(depth=(10**6, 10**18, 0, -1, 3, 2.5, 'two', None, [2]), num_heads=(0, -1, 3, 32, 10**9, 2.0, '2', None, True),
                            embed_dim=(10**9, 0, -16, 32, 'wide', None)).items():
        for i, value in enumerate(values):
            yield f'{key}-{i}', dict(arch={**arch, key: value})
    for i, value in enumerate(('small', 'giant', None, 3, [], {}, dict(arch, more=1), dict(embed_dim=16))):
        yield f'arch-{i}', dict(arch=value)
    for key, values in dict(
            patch_size=(0, -8, 16, 10**9, 'eight', None, [8]), img_size=(0, -1, 17, 32, 10**12, None, 'big', float('nan')),
            position=('sincos', 'none', 'nowhere', None, 3, []), position_rule=('nearest', None, 3, {}), num_registers=(4, -1, 10**9, None),
            class_token=(False, 'no', None), mlp_ratio=(0, -1, 8.0, 1e300, float('nan'), float('inf'), 'four', None),
            layer_scale=(1e-5, 'x', float('nan')), final_norm=(False, None), relative_position=(True, 'yes'), mask_token=('x', 3),
            query_keys=('nobody', None), type=('mmdssl.Nothing', 'os.system', '', None, 3, 'mmdssl.DINO', 'mmdssl.TimmBackbone')).items():
        for i, value in enumerate(values):
            yield f'{key}-{i}', {key: value}


def absurd_timm_configs() -> Iterator[tuple[str, dict]]:
    given = dict(channels=[8, 8, 8, 8], stem_width=8)
    for i, value in enumerate(('resnet18', 'resnet999', '', None, 3, 'hf-hub:somebody/something', 'vit_base_patch16_224')):
        yield f'name-{i}', dict(name=value)
    for i, value in enumerate((
            None, 3, [], 'channels', dict(given, channels=[10**6] * 4), dict(given, channels=[10**9] * 4), dict(given, channels=[0] * 4),
            dict(given, channels=8), dict(given, channels=[-8] * 4), dict(given, layers=[10**6, 1, 1, 1]),
            dict(given, layers=[3000, 1, 1, 1]),
            dict(given, stem_width=0), dict(given, stem_width='x'), dict(given, nonsense=1), dict(given, pretrained=True),
            dict(given, checkpoint_path='/etc/passwd'), dict(given, block='os.system'), dict(given, stem_width=float('nan')),
            dict(given, norm_layer=dict(type='os.system')))):
        yield f'model_args-{i}', dict(model_args=value)
    for i, value in enumerate((3, -1, 'x', 10**9)):
        yield f'stem_stride-{i}', dict(stem_stride=value)


def damages_of_runs() -> Iterator[tuple[str, Callable[[dict], Any], tuple[str, ...]]]:
    """Of a training checkpoint, and by which loaders they may pass unnoticed, since those do not need the part."""

    def without(*keys: str) -> Callable[[dict], dict]:
        return lambda content: {key: value for key, value in content.items() if key not in keys}

    def put(key: str, value: Any) -> Callable[[dict], dict]:
        return lambda content: {**content, key: value}

    def inside(key: str, **changes) -> Callable[[dict], dict]:
        return lambda content: {**content, key: {**content[key], **changes}}

    weights = ('load', 'convert', 'pretrained', 'load_from')
    for key in ('meta', 'message_hub', 'optimizer'):
        yield f'no-{key}', without(key), weights
        for i, value in enumerate((None, 3, [], 'text', torch.ones(2), {})):
            yield f'{key}-{i}', put(key, value), weights
    yield 'weights-alone', lambda content: dict(state_dict=content['state_dict']), weights
    yield 'bare-weights', lambda content: content['state_dict'], weights
    for i, value in enumerate((None, 3, [], 'text', {}, torch.ones(2), {1: torch.ones(2)}, {'a': 1})):
        yield f'state-{i}', put('state_dict', value), ()
    yield 'no-state', without('state_dict'), ()
    for i, value in enumerate((None, -1, 'one', 1.5, torch.ones(1), [1])):
        yield f'epoch-{i}', inside('meta', epoch=value), weights
        yield f'iter-{i}', inside('meta', iter=value), weights
    yield 'seed', inside('meta', seed='zero'), weights
    for key in ('log_scalars', 'runtime_info', 'resumed_keys'):
        for i, value in enumerate((None, [], 3)):
            yield f'{key}-{i}', inside('message_hub', **{key: value}), weights
    for key in ('state', 'param_groups'):
        for i, value in enumerate((None, 3, [], {}, [3], {0: 3})):
            if (key, i) != ('state', 3):  # an optimizer that has not stepped
                yield f'optimizer-{key}-{i}', inside('optimizer', **{key: value}), weights
    yield 'optimizer-nan', _with_bad_momentum, weights
    yield 'itself', _in_itself, ('load', 'convert', 'pretrained', 'load_from', 'resume')


def _with_bad_momentum(content: dict) -> dict:
    state = {number: {**values, 'exp_avg': values['exp_avg'] * float('nan')} for number, values in content['optimizer']['state'].items()}
    return {**content, 'optimizer': {**content['optimizer'], 'state': state}}


def _in_itself(content: dict) -> dict:
    content = dict(content)
    content['again'] = content
    return content


# --- The campaign -------------------------------------------------------------------------------------------------------------------

def cases(bench: Bench, more: list[Path]) -> Iterator[Case]:
    def make(name: str, path: Path, damage: Damage, expected=REFUSED, loaders: tuple[str, ...] | None = None,
             may_pass: tuple[str, ...] = ()) -> Iterator[Case]:
        """A case for each way to load a file, of those named."""
        for loader, load in known[path].items():
            if loaders is None or loader in loaders:
                folder = bench.folder / 'cases' / f'{path.stem}.{name}.{loader}'
                yield Case(folder.name, partial(run, load, path, damage, folder), EITHER if loader in may_pass else expected,
                           check=lambda: 'code of the file was run' if bench.marker.exists() else None, limit=60)

    files = [bench.backbone, bench.run, bench.timm, bench.weights, bench.hf, bench.of_timm, bench.legacy, bench.replay]
    known = {path: bench.loaders(path) for path in [*files, *more]}
    for path in [*files, *more]:
        yield from make('sound', path, lambda _: None, FINE)
    # In turns, each damage of bytes meets one of the ways to load the file.
    for path in [*files, *more]:
        flips = 0 if path == bench.legacy else 60 if path in (bench.backbone, bench.run) else 24
        for i, (name, damage) in enumerate(damages_of_bytes(path, flips)):
            yield from make(name, path, damage, EITHER, (list(known[path])[i % len(known[path])], ))
    for path in (bench.backbone, bench.run, bench.replay):
        for i, (name, content) in enumerate(other_contents()):
            yield from make(f'content-{name}', path, of_bytes(lambda _, content=content: content),
                            loaders=(list(known[path])[i % len(known[path])], ))
    for path, other in ((bench.run, bench.replay), (bench.replay, bench.run), (bench.backbone, bench.run)):
        yield from make('content-of-another', path, of_bytes(lambda _, other=other: other.read_bytes()),
                        EITHER if path == bench.run else REFUSED)
    for path in (bench.run, bench.weights, bench.replay):
        for i, (name, infect) in enumerate(hostile_files(bench)):
            yield from make(f'hostile-{name}', path, of_content(infect), loaders=(list(known[path])[i % len(known[path])], ))
    for path in (bench.backbone, bench.weights, bench.run):
        names = ('patch_embed.proj.weight', 'cls_token', 'pos_embed', 'blocks.1.attn.qkv.weight', 'blocks.0.mlp.fc1.weight', 'norm.bias')
        for i, (kind, change) in enumerate(damages_of_tensors().items()):
            for j, name in enumerate(names):
                yield from make(f'{kind}-{name}', path, of_tensors(change, name, rehash=(i + j) % 2 == 0),
                                loaders=(list(known[path])[(i + j) % len(known[path])], ))
        for i, (kind, change) in enumerate(kinds_of_pickled_tensors().items() if path.suffix == '.pth' else ()):
            for j, name in enumerate(names[:2]):
                yield from make(f'{kind}-{name}', path, of_tensors(lambda tensors, name, change=change: tensors.update(
                    {name: change(tensors[name])}), name), loaders=(list(known[path])[(i + j) % len(known[path])], ))
    for path, changes in ((bench.backbone, absurd_configs()), (bench.weights, absurd_configs()), (bench.of_timm, absurd_timm_configs())):
        for i, (name, change) in enumerate(changes):
            yield from make(f'config-{name}', path, of_config(change), EITHER, loaders=(list(known[path])[i % len(known[path])], ))
    for i, (name, change, may_pass) in enumerate(damages_of_runs()):
        yield from make(f'run-{name}', bench.run, of_content(lambda content, change=change: pickled(change(content))), may_pass=may_pass,
                        loaders=('resume', ('load', 'convert', 'pretrained', 'load_from')[i % 4]))
    yield from commands(bench)


def run(load: Callable[[Path, Path], int], path: Path, damage: Damage, folder: Path) -> int:
    folder.mkdir(parents=True)
    for beside in [path, *([path.with_name('config.json')] if path.with_name('config.json').exists() else [])]:
        (folder / beside.name).write_bytes(beside.read_bytes())
    damage(folder / path.name)
    code = 0

    def loaded() -> None:
        nonlocal code
        code = load(folder / path.name, folder)
    return guarded(loaded) or code


def of_content(change: Callable[[dict], bytes]) -> Damage:
    return lambda path: path.write_bytes(change(torch.load(path, weights_only=False))) and None


def pickled(content: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def of_tensors(change: Callable[[dict[str, Tensor], str], None], name: str, rehash: bool = True) -> Damage:
    """Of a file that keeps its checksums right, or, for ours without ``rehash``, states the old hash."""

    def damage(path: Path) -> None:
        if path.suffix == '.safetensors':
            tensors, facts = load_file(path), header(path)
            change(tensors, name)
            save_file(tensors, path, stated(tensors, facts) if rehash else {**facts, STATED: header(path, STATED)})
            return
        content = torch.load(path, weights_only=False)
        if name in content['state_dict']:
            change(content['state_dict'], name)
        else:
            for network in ('student', 'teacher'):  # of DINO
                change(content['state_dict'], next(key for key in content['state_dict']
                                                   if key.startswith(network) and key.endswith(f'.{name}')))
        if rehash:
            content.pop(STATED, None)
        torch.save(content, path)
    return damage


def of_config(change: dict) -> Damage:
    def damage(path: Path) -> None:
        if path.suffix == '.safetensors':
            tensors, facts = load_file(path), header(path)
            facts['config'] = json.dumps({**json.loads(facts['config']), **change})
            save_file(tensors, path, stated(tensors, facts))
        else:
            content = torch.load(path)
            config = json.dumps({**json.loads(content['config']), **change})
            torch.save(dict(state_dict=content['state_dict'], **stated(content['state_dict'], dict(config=config))), path)
    return damage


def header(path: Path, key: str | None = None) -> Any:
    """Metadata of a safetensors file without its hash, or one value of it."""
    content = path.read_bytes()
    facts = json.loads(content[8:8 + int.from_bytes(content[:8], 'little')])['__metadata__']
    return facts[key] if key else {name: value for name, value in facts.items() if name != STATED}


def commands(bench: Bench) -> Iterator[Case]:
    """The commands themselves, each in a process that runs ``main``."""
    page = bench.folder / 'page.pth'
    page.write_bytes(b'<html>Sign in</html>')
    evil = bench.folder / 'evil.pth'
    torch.save(dict(state_dict=Call(os.system, f'touch {bench.marker}')), evil)
    bad = bench.folder / 'nan.safetensors'
    bad.write_bytes(bench.backbone.read_bytes())
    of_tensors(damages_of_tensors()['nan'], 'norm.bias')(bad)
    for name, file in dict(page=page, evil=evil, nan=bad, none=bench.folder / 'none.pth', folder=bench.folder).items():
        out = str(bench.folder / f'command-{name}')
        for tool, arguments in {
                'train --pretrained': [str(bench.config), '--pretrained', str(file), '--work-dir', out],
                'train --resume': [str(bench.config), '--resume', str(file), '--work-dir', out],
                'convert_checkpoint': [str(file), f'{out}.pth', '--to', 'timm'],
                'benchmark --table-only': [str(file), '--table-only', '--work-dir', out],
                'test': [str(ROOT / 'configs/video/davis2017.py'), str(file), '--work-dir', out]}.items():
            yield Case(f'command.{tool.replace(" --", "-")}.{name}', partial(command, tool.split()[0], arguments), REFUSED,
                       check=lambda: 'code of the file was run' if bench.marker.exists() else None)


def command(tool: str, arguments: list[str]) -> int:
    from importlib.util import module_from_spec, spec_from_file_location
    spec = spec_from_file_location(f'tool_{tool}', ROOT / f'tools/{tool}.py')
    module = sys.modules[spec.name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main(arguments)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('out', type=Path, help='folder for the files and the logs of the cases; it must not exist yet')
    parser.add_argument('--more', type=Path, metavar='FOLDER', help='further sound checkpoints')
    parser.add_argument('--only', default='', metavar='TEXT', help='cases with this in their name')
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    bench = Bench(args.out.resolve())
    more = sorted(path for path in (args.more.iterdir() if args.more else ()) if _is_backbone(path))
    chosen = [case for case in cases(bench, more) if args.only in case.name]
    return report('damaged checkpoints', run_cases(chosen, args.out / 'logs'))


def _is_backbone(path: Path) -> bool:
    """Whether a file holds one that can be built, for other files say too little of theirs."""
    code = guarded(lambda: load_backbone(path) and None)
    return code == 0


if __name__ == '__main__':
    sys.exit(main())
