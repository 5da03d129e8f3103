"""From image files to batches of views.

A process that loads data imports the modules that it needs, and not all of them: a name of this package brings all.
"""
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmdssl.datasets.contents import *  # noqa: F403


def __getattr__(name: str):
    if name.startswith('_') or name == 'contents':
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module('mmdssl.datasets.contents'), name)
