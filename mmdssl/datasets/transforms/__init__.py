"""Transforms of images and of views."""
from typing import TYPE_CHECKING

from mmdssl.lazy import names_of

if TYPE_CHECKING:
    from mmdssl.datasets.transforms.contents import *  # noqa: F403

__getattr__ = names_of(__name__)
