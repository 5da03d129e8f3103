"""Packages of which a process imports the modules that it needs, and not all."""
from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec


def names_of(package: str) -> Callable[[str], object]:
    """The ``__getattr__`` of a package: its submodules by name, and all that its submodule ``contents`` imports."""

    def attribute(name: str) -> object:
        if name.startswith('_'):
            raise AttributeError(f'module {package!r} has no attribute {name!r}')
        if find_spec(f'{package}.{name}'):
            return import_module(f'{package}.{name}')
        return getattr(import_module(f'{package}.contents'), name)

    return attribute
