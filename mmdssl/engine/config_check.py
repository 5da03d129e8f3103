"""Find mistakes in a config before anything is built."""
from __future__ import annotations

import difflib
import inspect
import os.path
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from keyword import iskeyword
from traceback import walk_tb
from typing import Annotated, Any, Literal

import mmengine.registry
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import Registry, build_from_cfg
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from mmdssl.arguments import NonNegative, NonNegativeInt, Positive, PositiveInt, Range, Share, fits, refusal
from mmdssl.datasets.base import ImageDataset
from mmdssl.datasets.samplers import EpochSampler
from mmdssl.engine.faults import explain_fault
from mmdssl.engine.hooks import ContrastiveCropHook
from mmdssl.engine.run_length import DATES
from mmdssl.engine.sharding import STRATEGIES
from mmdssl.errors import InputError
from mmdssl.registry import METRICS, RUNNERS

Keys = tuple[str, ...]

RUNNER_KEYS = {
    *inspect.signature(Runner.__init__).parameters, 'activation_checkpointing', 'compile', 'custom_imports',
    'efficient_conv_bn_eval', 'find_unused_parameters', 'model_wrapper_cfg', 'runner_type', 'shard', 'sync_bn'
} - {'self', 'cfg'}
# names by which configs pass a value on to several places
VARIABLES = {'backend_args', 'data_root', 'dataset_type', 'test_pipeline', 'train_pipeline', 'val_pipeline'}
LOADER_KEYS = {
    *inspect.signature(DataLoader.__init__).parameters, 'num_batch_per_epoch', 'disable_subprocess_warning'
} - {'self'}
Seed = Annotated[int, Range('from 0 to 4294967295', lambda seed: 0 <= seed < 2**32)]
Counts = Annotated[int, Range('from 1 to 1000000', lambda count: 1 <= count <= 10**6)]
Workers = Annotated[int, Range('from 0 to 1024', lambda count: 0 <= count <= 1024)]
Every = PositiveInt | Literal[-1]  # MMEngine's -1 is never
Rule = Literal['greater', 'less']
PLAIN_DICTS: dict[Keys, dict[str, Any]] = {
    ('auto_scale_lr', ): dict(enable=bool, base_batch_size=PositiveInt),
    ('env_cfg', ): dict(cudnn_benchmark=bool, mp_cfg=dict, dist_cfg=dict, resource_limit=PositiveInt),
    ('randomness', ): dict(seed=Seed | None, diff_rank_seed=bool, deterministic=bool),
    ('custom_imports', ): dict(imports=str | list[str], allow_failed_imports=bool),
    ('optim_wrapper', 'clip_grad'): dict(type=Literal['norm', 'value'], max_norm=Positive, clip_value=Positive, norm_type=Any,
                                         error_if_nonfinite=bool, foreach=bool | None),
}
# Ranges and kinds of what other packages read and check not at all, too late, or with a traceback; our own classes check theirs.
OF_RUNNER: dict[str, Any] = dict(
    model=dict, train_dataloader=dict | None, val_dataloader=dict | None, test_dataloader=dict | None, optim_wrapper=dict | None,
    train_cfg=dict | None, val_cfg=dict | None, test_cfg=dict | None, val_evaluator=dict | list[dict] | None,
    test_evaluator=dict | list[dict] | None, param_scheduler=dict | list[dict] | None, default_hooks=dict[str, dict | None] | None,
    custom_hooks=list[dict] | None, auto_scale_lr=dict | None, randomness=dict, env_cfg=dict, visualizer=dict | None,
    log_processor=dict | None, load_from=str | None, resume=bool, work_dir=str, default_scope=str, experiment_name=str | None,
    compile=bool | dict, sync_bn=Literal['torch', 'mmcv'] | None, shard=Literal[STRATEGIES] | None, find_unused_parameters=bool,
    log_level=Literal['DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL'])
NEEDED = dict(auto_scale_lr='base_batch_size', train_dataloader='dataset', val_dataloader='dataset', test_dataloader='dataset')
OF_LOADER: dict[str, Any] = dict(
    dataset=dict, sampler=dict, batch_sampler=dict | None, batch_size=Counts, num_workers=Workers, drop_last=bool, pin_memory=bool,
    persistent_workers=bool, prefetch_factor=PositiveInt | None, timeout=NonNegative)
# By the name of the class, or of one that it derives from.
OF_CLASS: dict[str, dict[str, Any]] = {
    'EpochBasedTrainLoop': dict(max_epochs=PositiveInt, val_begin=NonNegativeInt, val_interval=PositiveInt),
    'IterBasedTrainLoop': dict(max_iters=PositiveInt, val_begin=NonNegativeInt, val_interval=PositiveInt),
    'Optimizer': dict(lr=NonNegative, weight_decay=NonNegative, momentum=Share),
    'Adam': dict(betas=tuple[Share, Share], eps=NonNegative),  # of which AdamW is one
    'OptimWrapper': dict(accumulative_counts=PositiveInt, clip_grad=dict | None),
    '_ParamScheduler': dict(
        begin=NonNegative, end=Positive, by_epoch=bool, convert_to_iter_based=bool, T_max=Positive,
        eta_min=NonNegative | None, eta_min_ratio=NonNegative | None, start_factor=Positive, power=NonNegative, gamma=NonNegative,
        milestones=list[Positive], step_size=Positive),
    'CheckpointHook': dict(
        interval=Every, by_epoch=bool, max_keep_ckpts=Every, save_last=bool, save_optimizer=bool, save_best=str | list[str] | None,
        save_begin=NonNegativeInt, out_dir=str | None, rule=Rule | list[Rule] | None),
    'LoggerHook': dict(interval=PositiveInt, ignore_last=bool, log_metric_by_epoch=bool),
    'LogProcessor': dict(window_size=PositiveInt, by_epoch=bool),
    'BaseDataset': dict(
        ann_file=str | None, data_root=str | None, data_prefix=dict[str, str | None] | None, test_mode=bool, img_suffix=str,
        seg_map_suffix=str, reduce_zero_label=bool | None, ignore_index=int),
    'IoUMetric': dict(iou_metrics=list[Literal['mIoU', 'mDice', 'mFscore']]),
}
# what builders take out of a dict before the class sees it
BUILDER_KEYS = {'type', '_scope_', '_delete_', 'priority', 'convert_to_iter_based', 'constructor', 'paramwise_cfg'}
# dicts whose type is not a registry's, and those, such as norm_cfg, that other packages' builders read in their own way
NOT_BUILT = re.compile(r'clip_grad|meta|metainfo|\w+_cfg')
# Beside types of our scope, only what these build is judged: other packages have builders that read keys of their own.
JUDGED = ('mmdssl.', 'mmengine.', 'torch.optim.')
# Where the first step shows what does not fit together.
STEPS = {EpochBasedTrainLoop.run_iter.__code__, IterBasedTrainLoop.run_iter.__code__}
# Classes of these hand their **kwargs to their base class.
PASS_KWARGS_ON = ('mmdssl.', 'mmengine.optim.scheduler.')


def check_config(cfg: Config) -> None:
    """Check that every key is read by something, every type exists, data folders are there, and validation computes
    what chooses the best checkpoint.

    Keys are compared with the signatures of the classes they configure, where those are ours, MMEngine's or
    optimizers; values of MMEngine's classes and of torch's with :data:`OF_CLASS`. Configs of other packages
    (``default_scope``) may have variables of their own at the top level, unless they look like a slip, and types that are not in a
    registry.

    Raises:
        InputError: Naming the first mistake and what was probably meant.
    """
    scope = cfg.get('default_scope', 'mmengine')
    _check_keys(cfg._cfg_dict, (), scope)
    _check_values(cfg._cfg_dict, (), scope)
    _check_runner(cfg.get('runner_type', 'Runner'))
    for path, node in _walk({key: value for key, value in cfg.items() if key in RUNNER_KEYS}, ()):
        keyword = next(filter(iskeyword, map(str, node)), None)
        if keyword:
            raise InputError(f"the config's key '{_dotted(path, keyword)}' is a keyword of Python's, so the config "
                             f"could not be written to the log: call it '{keyword}_'")
        if path:
            if path not in PLAIN_DICTS:
                _check_type(node, path, scope)
            _check_keys(node, path, scope)
            _check_values(node, path, scope)
    for part, key in NEEDED.items():
        if cfg.get(part) and key not in cfg[part]:
            raise InputError(f"the config's {part} has no '{key}': add it")
    _check_schedules(cfg)
    _check_sampler(cfg, scope)
    _check_crop_boxes(cfg, scope)
    _check_save_best(cfg, scope)
    for part in ('train_dataloader', 'val_dataloader', 'val_cfg'):
        for path, node in _walk(cfg.get(part) or {}, (part, )):
            _check_data(node, path)


def check_options(cfg: Config, options: Mapping[str, object]) -> None:
    """Check that every ``--cfg-options`` key is in the config already, or is read by the class it is for.

    Raises:
        InputError: Naming the key and what was probably meant.
    """
    scope = cfg.get('default_scope', 'mmengine')
    for option in options:
        node, path = cfg._cfg_dict, ()
        for key in option.split('.'):
            inside = _children(node)
            if key not in inside:
                known, _ = _keys_read(node, path, scope)
                if key in known:
                    break
                raise InputError(f"--cfg-options {option} was not applied because the config has no "
                                 f"'{_dotted(path, key)}'{_meant(key, {*inside, *known} - BUILDER_KEYS)}")
            node, path = inside[key], (*path, key)


@contextmanager
def explain_refusals(cfg: Config) -> Iterator[None]:
    """Turn the error of a constructor of another package into an InputError that names its place in the config and its arguments.

    Errors of our own code keep their traceback, unless a config gives a class an unknown argument, or too few.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if isinstance(error, MemoryError) or 'allocate memory' in str(error):
            reason = str(error).partition('\n')[0] or 'MemoryError'
            raise InputError(f'this needs more memory than there is ({reason:.200}): lower the batch size, or the sizes in the '
                             'config') from error
        if explain_fault(error):
            raise
        missing = re.search(r'(\w+)\.__init__\(\) missing \d+ required [\w-]+ arguments?: (.+)', str(error))
        if missing and isinstance(error, TypeError):
            raise InputError(f'the config of {missing[1]} has no {missing[2]}: add it') from error
        found = re.search(r"__init__\(\) got an unexpected keyword argument '(\w+)'", str(error))
        if found and isinstance(error, TypeError) and any(found[1] in node for _, node in _walk(cfg._cfg_dict, ())):
            raise InputError(f"the config's key '{found[1]}' is read by nothing: remove or correct it ({error})") from error
        what = _refusing(cfg, error)
        if what is None:
            raise
        raise InputError(f'{what} ({type(error).__name__}: {" ".join(str(error).split())[:500]})') from error


def _refusing(cfg: Config, error: Exception) -> str | None:
    """Which builder, or model in its first step, of another package failed, if one did after all code of ours."""
    what = None
    for frame, _ in walk_tb(error.__traceback__):
        package = frame.f_globals.get('__name__', '').partition('.')[0]
        if package == 'mmdssl':
            what = None
        elif frame.f_code is build_from_cfg.__code__:
            what = _described(cfg, frame.f_locals['cfg'])
        elif frame.f_code is DataLoader.__init__.__code__:
            what = 'a dataloader refuses its arguments'
        elif frame.f_code in STEPS and frame.f_locals['self'].iter == 0:
            what = 'the model cannot work with what its first batch holds'
        elif what and frame.f_code is nn.Module._call_impl.__code__ and not hasattr(torch.nn, type(frame.f_locals['self']).__name__):
            what = f'{type(frame.f_locals["self"]).__name__} cannot work with what it is given: check its arguments in the config'
        elif frame.f_code in (Runner.__init__.__code__, Runner.from_cfg.__func__.__code__) and what is None:
            what = 'the runner refuses the config'
    return what


def _described(cfg: Config, built: Mapping) -> str:
    """Place, type and values in the config of what was to be built."""
    wanted = {key: value for key, value in built.items() if isinstance(value, (bool, int, float, str, list, tuple, type(None)))}
    paths = [path for path, node in _walk(cfg._cfg_dict, ()) if path and node.get('type') == built.get('type')
             and all(key in built and (built[key] is value or key not in wanted or built[key] == value) for key, value in node.items())]
    name = built.get('type', '')
    given = ', '.join(f'{key}={value!r:.60}' for key, value in wanted.items() if key != 'type')
    where = f'{_dotted(paths[0])} ({getattr(name, "__name__", name)})' if paths else getattr(name, '__name__', str(name))
    return f'{where} refuses its arguments' + f' {given}' * bool(given)


def _walk(node, path: Keys) -> Iterator[tuple[Keys, Mapping]]:
    """All dicts inside a value, outer ones first."""
    if isinstance(node, Mapping):
        yield path, node
    for key, child in _children(node).items():
        if not (path and NOT_BUILT.fullmatch(key)) or (*path, key) in PLAIN_DICTS:
            yield from _walk(child, (*path, key))


def _children(node) -> dict[str, object]:
    """What a key of ``--cfg-options`` can name inside a dict or a list."""
    if isinstance(node, Mapping):
        return {str(key): child for key, child in node.items()}
    if isinstance(node, (list, tuple)):
        return {str(i): child for i, child in enumerate(node)}
    return {}


def _dotted(path: Keys, *keys: str) -> str:
    return '.'.join((*path, *keys))


def _check_type(node: Mapping, path: Keys, scope: str) -> None:
    name = node.get('type')
    if 'type' in node and not isinstance(name, str) and not callable(name):
        raise InputError(f'the config has {_dotted(path, "type")}={name!r}: give the name of a class')
    if _is_ours(name, scope) and not _find(name, scope):
        raise InputError(f"the config's {_dotted(path)} has the unknown type '{name}'" + _meant(
            name, _all_names(scope), 'correct it, or import the package that registers it with custom_imports'))


def _check_keys(node: Mapping, path: Keys, scope: str) -> None:
    known, complete = _keys_read(node, path, scope)
    if not complete:
        return
    lenient = not path and scope != 'mmdssl'
    for key in map(str, node):
        if key not in known and (not lenient or difflib.get_close_matches(key, RUNNER_KEYS, cutoff=0.93)):
            raise InputError(f"the config's key '{_dotted(path, key)}' is read by nothing"
                             + _meant(key, known - BUILDER_KEYS))


def _check_values(node: Mapping, path: Keys, scope: str) -> None:
    for key, hint in _kinds(node, path, scope).items():
        if key in node and not fits(node[key], hint):
            raise InputError(f'the config has {refusal(_dotted(path, key), node[key], hint)}')


def _kinds(node: Mapping, path: Keys, scope: str) -> dict[str, Any]:
    """What the values of a dict must be, as far as others than our classes read them."""
    if not path or path in PLAIN_DICTS:
        return PLAIN_DICTS[path] if path else OF_RUNNER
    if _is_loader(node):
        return OF_LOADER
    builders = filter(inspect.isclass, _find(node.get('type'), scope))
    return {key: hint for builder in builders for base in builder.__mro__[::-1] for key, hint in OF_CLASS.get(base.__name__, {}).items()}


def _is_loader(node: Mapping) -> bool:
    return 'dataset' in node and bool({'batch_size', 'batch_sampler'} & set(node))


def _check_runner(name) -> None:
    if not isinstance(name, str) and not callable(name) or isinstance(name, str) and RUNNERS.get(name) is None:
        raise InputError(f"the config has the unknown runner_type '{name}'"
                         + _meant(str(name), {*RUNNERS.module_dict, *RUNNERS.root.module_dict}))


def _check_sampler(cfg: Config, scope: str) -> None:
    """Views depend on the epoch, which only our sampler tells the dataset; any other repeats those of the first."""
    loader = cfg.get('train_dataloader') or {}
    dataset, sampler = (_find((loader.get(key) or {}).get('type'), scope) for key in ('dataset', 'sampler'))
    if any(inspect.isclass(found) and issubclass(found, ImageDataset) for found in dataset) and EpochSampler not in sampler:
        raise InputError("train_dataloader.sampler would give every epoch the same views: make it dict(type='EpochSampler')")


def _check_crop_boxes(cfg: Config, scope: str) -> None:
    """Views that follow boxes, which nothing finds."""
    views = ((cfg.get('train_dataloader') or {}).get('dataset') or {}).get('views')
    boxed = next((name for name, recipe in _children(views).items()
                  if isinstance(recipe, Mapping) and recipe.get('box_alpha') is not None), None)
    hooks = [*(cfg.get('default_hooks') or {}).values(), *(cfg.get('custom_hooks') or [])]
    if boxed and not any(ContrastiveCropHook in _find(hook.get('type'), scope) for hook in hooks if isinstance(hook, Mapping)):
        raise InputError(f'train_dataloader.dataset.views.{boxed} has box_alpha={views[boxed].box_alpha}, but nothing finds boxes: add '
                         "default_hooks.contrastive_crop=dict(type='ContrastiveCropHook'), or remove box_alpha")


def _check_schedules(cfg: Config) -> None:
    """Schedules that begin after the run ends, as a cosine does behind a warm-up that is too long, or within an iteration."""
    epochs = (cfg.get('train_cfg') or {}).get('max_epochs')
    schedulers = cfg.get('param_scheduler') or []
    for i, scheduler in enumerate(schedulers if isinstance(schedulers, (list, tuple)) else [schedulers]):
        end = scheduler.get('end', epochs)
        broken = [date for date in DATES if np.mod(scheduler.get(date) or 0, 1).any()]
        if broken and not scheduler.get('by_epoch', True):
            raise InputError(f"param_scheduler.{i}.{broken[0]} is {scheduler[broken[0]]}, and {scheduler['type']} counts iterations: give "
                             'whole numbers, or by_epoch=True')
        if epochs and scheduler.get('by_epoch', True) and scheduler.get('begin', 0) >= min(end, epochs):
            raise InputError(f"the schedule {scheduler['type']} begins at epoch {scheduler['begin']} of a "
                             f'run of {epochs}: shorten the warm-up before it (param_scheduler.{i}.begin and the end '
                             'of the one before), or train longer')


def _check_save_best(cfg: Config, scope: str) -> None:
    """What chooses the best checkpoint, where all that is computed says what it is called."""
    evaluators = cfg.get('val_evaluator') or []
    evaluators = [evaluators] if isinstance(evaluators, Mapping) else evaluators
    if not evaluators or not all(any(hasattr(found, 'names') for found in _find(each.get('type'), scope)) for each in evaluators):
        return
    computed = {name for each in evaluators for name in METRICS.build(each).names}
    chosen = ((cfg.get('default_hooks') or {}).get('checkpoint') or {}).get('save_best') or []
    for name in [chosen] if isinstance(chosen, str) else chosen:
        if name not in computed | {'auto'}:
            raise InputError(f"default_hooks.checkpoint.save_best is '{name}', which val_evaluator does not give" + _meant(name, computed))


def _check_data(node: Mapping, path: Keys) -> None:
    """Local folders and files that a dataset's config names."""
    root = node.get('data_root') or ''
    for key in ('data_root', 'ann_file'):
        value = node.get(key)
        if isinstance(value, str) and value and '://' not in root + value:
            place = value if key == 'data_root' else os.path.join(root, value)
            if not (os.path.isdir(place) if key == 'data_root' else os.path.isfile(place)):
                raise InputError(f"{_dotted(path, key)} '{place}' does not exist: put or link the data there, change "
                                 'the path with --cfg-options, or train on your own images with --data PATH')


def _keys_read(node, path: Keys, scope: str) -> tuple[set[str], bool]:
    """The keys that something is known to read from a dict, and whether there can be no others."""
    if not isinstance(node, Mapping):
        return set(), False
    if not path:
        return RUNNER_KEYS | VARIABLES, True
    if path in PLAIN_DICTS:
        return {*PLAIN_DICTS[path]}, True
    if _is_loader(node):
        return {*LOADER_KEYS}, True
    if 'type' not in node:
        return set(), False
    name = node['type']
    builders = _find(name, scope)
    read, complete = set(BUILDER_KEYS), bool(builders)
    for builder in builders:
        names, all_of_them = _parameters(builder)
        read |= names
        complete &= all_of_them and (_is_ours(name, scope) or f'{builder.__module__}.'.startswith(JUDGED))
    return read, complete


def _parameters(builder) -> tuple[set[str], bool]:
    """Names of the arguments of a class, those of its bases that it passes on included, or of a function, and whether these are all."""
    functions = [builder]
    if inspect.isclass(builder):
        functions = [cls.__init__ for cls in builder.__mro__ if '__init__' in vars(cls)]
    names: set[str] = set()
    complete = True
    for function in functions:
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):
            return names, False
        names |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)} - {'self'}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return names, complete
        complete &= getattr(function, '__module__', '').startswith(PASS_KWARGS_ON)
    return names, False


def _is_ours(name, scope: str) -> bool:
    """Whether a type is looked up in our scope."""
    return isinstance(name, str) and (name.split('.')[0] if '.' in name else scope) == 'mmdssl'


def _find(name, scope: str) -> list:
    """What any registry calls by this name; what is no name stands for itself."""
    if not isinstance(name, str):
        return [name]
    if '.' in name:
        scope, name = name.split('.', 1)
    found = []
    for registry in _registries(scope):
        while registry is not None:
            if name in registry.module_dict:
                found.append(registry.module_dict[name])
                break
            registry = registry.parent
    return found


def _registries(scope: str) -> list[Registry]:
    """For each of MMEngine's kinds of components the registry of a scope."""
    roots = [value for value in vars(mmengine.registry).values() if isinstance(value, Registry)]
    if scope == 'mmengine':
        return roots
    try:
        import_module(f'{scope}.registry')
        registries = [root.children.get(scope, root) for root in roots]
        for registry in registries:
            registry.import_from_location()
    except ImportError:  # building it will say why
        return []
    return registries


def _all_names(scope: str) -> set[str]:
    return {name for registry in _registries(scope) for name in (*registry.module_dict, *registry.root.module_dict)}


def _meant(word: str, known: Iterable[str], otherwise: str = 'remove or correct it') -> str:
    """The remedy: the closest known word, else all of them, if they are not too many."""
    known = sorted(set(known))
    close = difflib.get_close_matches(word.split('.')[-1], known, n=1)
    if close:
        return f": did you mean '{close[0]}'?"
    return f': {otherwise}' + (f' (known are {", ".join(known)})' if 0 < len(known) <= 30 else '')
