"""What other packages need to work beside this one. Importing it imports none of them."""
from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

STAND_IN = Path(__file__).with_name('mmcv_ops.py')


class _MMCVOpsFinder(MetaPathFinder):
    """Finds ``mmcv._ext``, mmcv's compiled extension, as :mod:`mmdssl.compat.mmcv_ops`."""

    def find_spec(self, fullname: str, path=None, target=None):
        return spec_from_file_location(fullname, STAND_IN) if fullname == 'mmcv._ext' else None


def provide_mmcv_ops() -> None:
    """Let ``import mmcv.ops`` work where mmcv is installed without its compiled extension.

    The finder comes last, so a compiled extension is found before it and used.
    """
    if not any(isinstance(finder, _MMCVOpsFinder) for finder in sys.meta_path):
        sys.meta_path.append(_MMCVOpsFinder())


def provide_configs() -> None:
    """Let configs inherit from ``mmdssl::``, and from ``mmseg::`` where mmseg is not installed under the name mmsegmentation."""
    after_import('mmengine.config.utils', _add_names)


def _add_names(utils: ModuleType) -> None:
    utils.MODULE2PACKAGE['mmdssl'] = 'mmdssl'
    try:
        distribution('mmsegmentation')
    except PackageNotFoundError:
        utils.MODULE2PACKAGE['mmseg'] = 'mmseg'


def after_import(name: str, function: Callable[[ModuleType], None]) -> None:
    """Call a function with a module: now if it is imported already, else as soon as somebody has."""
    if name in sys.modules:
        function(sys.modules[name])
    else:
        sys.meta_path.insert(0, _AfterImport(name, function))


class _AfterImport(MetaPathFinder):
    """Finds a module as it is, with a function to be called after it."""

    def __init__(self, name: str, function: Callable[[ModuleType], None]):
        self.name, self.function = name, function

    def find_spec(self, fullname: str, path=None, target=None):
        spec = PathFinder.find_spec(fullname, path, target) if fullname == self.name else None
        if spec is not None:
            spec.loader = _Loader(spec.loader, self.function)
        return spec


class _Loader(Loader):
    """Another loader, and a function that is called with what it has loaded."""

    def __init__(self, loader: Loader, function: Callable[[ModuleType], None]):
        self.loader, self.function = loader, function

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        self.function(module)
