"""From image files to batches of views.

A process that loads data imports the modules that it needs, and not all of them: a name of this package brings all.
"""
from typing import TYPE_CHECKING

from mmdssl.lazy import names_of

if TYPE_CHECKING:
    from mmdssl.datasets.contents import *  # noqa: F403

__getattr__ = names_of(__name__)
