"""mmdssl: self-supervised pretraining for dense prediction, on OpenMMLab.

Whoever imports the package can build its components, ``type='mmdssl.PQCL'``, and inherit from its configs,
``_base_ = 'mmdssl::pretrain/pqcl.py'``. It makes ``mmcv.ops`` work without mmcv's compiled extension, and ``mmseg::`` configs under
any name of mmseg's distribution.

Nothing is imported before it is used, neither PyTorch nor MMEngine: a registry imports the components when one of them is looked up,
see :mod:`mmdssl.registry`.
"""
from importlib import import_module
from typing import TYPE_CHECKING

from .compat import after_import, provide_configs, provide_mmcv_ops

if TYPE_CHECKING:
    from . import datasets, engine, models, protocols

__version__ = '0.1.0'
__all__ = ['__version__', 'datasets', 'engine', 'models', 'protocols']


def __getattr__(name: str):
    if name in __all__:
        return import_module(f'mmdssl.{name}')
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def _register_initializer(root) -> None:
    """Configs of other projects name our initializer without a scope, so MMEngine's own registry must have it at once."""
    def load(*args, **kwargs):
        return import_module('mmdssl.checkpoint').SSLPretrained(*args, **kwargs)
    root.WEIGHT_INITIALIZERS.register_module('SSLPretrained', module=load)


provide_mmcv_ops()  # before anything imports mmcv.ops, as mmdet and mmseg do
provide_configs()
after_import('mmengine.registry.root', _register_initializer)
