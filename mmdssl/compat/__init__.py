"""What other packages need to work beside this one."""
from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.util import spec_from_file_location
from pathlib import Path

from mmengine.config.utils import MODULE2PACKAGE
from mmengine.utils import is_installed

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


def provide_mmseg_configs() -> None:
    """Let configs inherit from ``mmseg::`` where mmseg is not installed under the name mmsegmentation."""
    if not is_installed('mmsegmentation'):
        MODULE2PACKAGE['mmseg'] = 'mmseg'
