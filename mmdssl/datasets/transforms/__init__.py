"""Transforms of images and of views."""
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmdssl.datasets.transforms.contents import *  # noqa: F403


def __getattr__(name: str):
    if name.startswith('_'):
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    if find_spec(f'{__name__}.{name}'):
        return import_module(f'{__name__}.{name}')
    return getattr(import_module(f'{__name__}.contents'), name)
