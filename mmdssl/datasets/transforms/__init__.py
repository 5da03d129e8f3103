"""Transforms of images and of views."""
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmdssl.datasets.transforms.contents import *  # noqa: F403


def __getattr__(name: str):
    if name.startswith('_') or name == 'contents':
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module('mmdssl.datasets.transforms.contents'), name)
