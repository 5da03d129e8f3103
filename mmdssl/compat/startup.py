"""What every start of Python runs where mmdssl is installed: text of a ``.pth`` file that setup.py makes of this one.

The first import of mmengine, mmcv, mmdet or mmseg imports mmdssl before it, so that :mod:`mmdssl.compat` is in time also for tools that
import mmdssl later or never. Until then it costs a function call an import; and whatever goes wrong is a warning, and Python starts.
"""
import sys


class MMDSSLFinder:
    """Finds nothing."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name in ('mmengine', 'mmcv', 'mmdet', 'mmseg') and MMDSSLFinder in sys.meta_path:
            sys.meta_path.remove(MMDSSLFinder)
            try:
                import mmdssl  # noqa: F401
            except Exception as error:  # a checkout that is gone or half edited: the others are imported as if it were not there
                import warnings
                warnings.warn(f'mmdssl is installed, but cannot be imported before {name} ({type(error).__name__}: {error}): repair it, or '
                              'uninstall it', stacklevel=2)


sys.meta_path.insert(0, MMDSSLFinder)
