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

import mmengine.registry
from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmdssl.datasets.base import ImageDataset
from mmdssl.datasets.samplers import EpochSampler
from mmdssl.engine.hooks import ContrastiveCropHook
from mmdssl.errors import InputError
from mmdssl.protocols.knn import KNNMetric
from mmdssl.registry import METRICS, RUNNERS

Keys = tuple[str, ...]

RUNNER_KEYS = {
    *inspect.signature(Runner.__init__).parameters, 'activation_checkpointing', 'compile', 'custom_imports',
    'efficient_conv_bn_eval', 'find_unused_parameters', 'model_wrapper_cfg', 'runner_type', 'sync_bn'
} - {'self', 'cfg'}
# names by which configs pass a value on to several places
VARIABLES = {'backend_args', 'data_root', 'dataset_type', 'test_pipeline', 'train_pipeline', 'val_pipeline'}
LOADER_KEYS = {
    *inspect.signature(DataLoader.__init__).parameters, 'num_batch_per_epoch', 'disable_subprocess_warning'
} - {'self'}
PLAIN_DICTS: dict[Keys, set[str]] = {
    ('auto_scale_lr', ): {'enable', 'base_batch_size'},
    ('env_cfg', ): {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'},
    ('randomness', ): {*inspect.signature(Runner.set_randomness).parameters} - {'self'},
    ('custom_imports', ): {'imports', 'allow_failed_imports'},
}
# what builders take out of a dict before the class sees it
BUILDER_KEYS = {'type', '_scope_', '_delete_', 'priority', 'convert_to_iter_based', 'constructor', 'paramwise_cfg'}
# dicts whose type is not a registry's, and those, such as norm_cfg, that other packages' builders read in their own way
NOT_BUILT = re.compile(r'clip_grad|meta|metainfo|\w+_cfg')
# Beside types of our scope, only what these build is judged: other packages have builders that read keys of their own.
JUDGED = ('mmdssl.', 'mmengine.', 'torch.optim.')
# Classes of these hand their **kwargs to their base class.
PASS_KWARGS_ON = ('mmdssl.', 'mmengine.optim.scheduler.')


def check_config(cfg: Config) -> None:
    """Check that every key is read by something, every type exists, data folders are there, and k-NN computes what
    chooses the best checkpoint.

    Keys are compared with the signatures of the classes they configure, where those are ours, MMEngine's or
    optimizers. Configs of other packages (``default_scope``) may have variables of their own at the top level, unless
    they look like a slip, and types that are not in a registry.

    Raises:
        InputError: Naming the first mistake and what was probably meant.
    """
    scope = cfg.get('default_scope', 'mmengine')
    _check_keys(cfg._cfg_dict, (), scope)
    _check_runner(cfg.get('runner_type', 'Runner'))
    for path, node in _walk({key: value for key, value in cfg.items() if key in RUNNER_KEYS}, ()):
        keyword = next(filter(iskeyword, map(str, node)), None)
        if keyword:
            raise InputError(f"the config's key '{_dotted(path, keyword)}' is a keyword of Python's, so the config "
                             f"could not be written to the log: call it '{keyword}_'")
        if path:
            _check_type(node, path, scope)
            _check_keys(node, path, scope)
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
def explain_unread_keys(cfg: Config) -> Iterator[None]:
    """Turn the TypeError of a constructor that a config gives an unknown argument, or too few, into an InputError.

    For arguments in plain dicts, whose class only the code that builds it knows.
    """
    try:
        yield
    except TypeError as error:
        missing = re.search(r'(\w+)\.__init__\(\) missing \d+ required [\w-]+ arguments?: (.+)', str(error))
        if missing:
            raise InputError(f'the config of {missing[1]} has no {missing[2]}: add it') from error
        found = re.search(r"__init__\(\) got an unexpected keyword argument '(\w+)'", str(error))
        if not found or not any(found[1] in node for _, node in _walk(cfg._cfg_dict, ())):
            raise
        raise InputError(f"the config's key '{found[1]}' is read by nothing: remove or correct it ({error})") from error


def _walk(node, path: Keys) -> Iterator[tuple[Keys, Mapping]]:
    """All dicts inside a value, outer ones first."""
    if isinstance(node, Mapping):
        yield path, node
    for key, child in _children(node).items():
        if not (path and NOT_BUILT.fullmatch(key)):
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


def _check_runner(name) -> None:
    if isinstance(name, str) and RUNNERS.get(name) is None:
        raise InputError(f"the config has the unknown runner_type '{name}'"
                         + _meant(name, {*RUNNERS.module_dict, *RUNNERS.root.module_dict}))


def _check_sampler(cfg: Config, scope: str) -> None:
    """Views depend on the epoch, which only our sampler tells the dataset; any other repeats those of the first."""
    loader = cfg.get('train_dataloader') or {}
    dataset, sampler = (_find((loader.get(key) or {}).get('type'), scope) for key in ('dataset', 'sampler'))
    if any(inspect.isclass(found) and issubclass(found, ImageDataset) for found in dataset) and EpochSampler not in sampler:
        raise InputError("train_dataloader.sampler would give every epoch the same views: make it dict(type='EpochSampler')")


def _check_crop_boxes(cfg: Config, scope: str) -> None:
    """Views that follow boxes, which nothing finds."""
    views = ((cfg.get('train_dataloader') or {}).get('dataset') or {}).get('views') or {}
    boxed = next((name for name, recipe in views.items() if recipe and recipe.get('box_alpha') is not None), None)
    hooks = [*(cfg.get('default_hooks') or {}).values(), *(cfg.get('custom_hooks') or [])]
    if boxed and not any(ContrastiveCropHook in _find(hook.get('type'), scope) for hook in hooks if isinstance(hook, Mapping)):
        raise InputError(f'train_dataloader.dataset.views.{boxed} has box_alpha={views[boxed].box_alpha}, but nothing finds boxes: add '
                         "default_hooks.contrastive_crop=dict(type='ContrastiveCropHook'), or remove box_alpha")


def _check_schedules(cfg: Config) -> None:
    """Schedules that begin after the run ends, as a cosine does behind a warm-up that is too long."""
    epochs = (cfg.get('train_cfg') or {}).get('max_epochs')
    schedulers = cfg.get('param_scheduler') or []
    for i, scheduler in enumerate(schedulers if isinstance(schedulers, (list, tuple)) else [schedulers]):
        end = scheduler.get('end', epochs)
        if epochs and scheduler.get('by_epoch', True) and scheduler.get('begin', 0) >= min(end, epochs):
            raise InputError(f"the schedule {scheduler['type']} begins at epoch {scheduler['begin']} of a "
                             f'run of {epochs}: shorten the warm-up before it (param_scheduler.{i}.begin and the end '
                             'of the one before), or train longer')


def _check_save_best(cfg: Config, scope: str) -> None:
    evaluator = cfg.get('val_evaluator')
    if not isinstance(evaluator, Mapping) or KNNMetric not in _find(evaluator.get('type'), scope):
        return
    computed = {f'knn{k}_top{top}' for k in METRICS.build(evaluator).k for top in (1, 5) if top <= k}
    chosen = ((cfg.get('default_hooks') or {}).get('checkpoint') or {}).get('save_best') or []
    for name in [chosen] if isinstance(chosen, str) else chosen:
        if name not in computed | {'auto'}:
            raise InputError(f"default_hooks.checkpoint.save_best is '{name}', which val_evaluator.k does not give"
                             + _meant(name, computed))


def _check_data(node: Mapping, path: Keys) -> None:
    """Local folders and files that a dataset's config names."""
    root = node.get('data_root') or ''
    for key in ('data_root', 'ann_file'):
        value = node.get(key)
        if isinstance(value, str) and value and '://' not in root + value:
            place = value if key == 'data_root' else os.path.join(root, value)
            if not os.path.exists(place):
                raise InputError(f"{_dotted(path, key)} '{place}' does not exist: put or link the data there, change "
                                 'the path with --cfg-options, or train on your own images with --data PATH')


def _keys_read(node, path: Keys, scope: str) -> tuple[set[str], bool]:
    """The keys that something is known to read from a dict, and whether there can be no others."""
    if not isinstance(node, Mapping):
        return set(), False
    if not path:
        return RUNNER_KEYS | VARIABLES, True
    if path in PLAIN_DICTS:
        return PLAIN_DICTS[path], True
    if 'dataset' in node and {'batch_size', 'batch_sampler'} & set(node):
        return LOADER_KEYS, True
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
