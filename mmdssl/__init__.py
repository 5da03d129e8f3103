"""mmdssl: self-supervised pretraining for dense prediction, on OpenMMLab.

Importing the package registers its components in the scope ``mmdssl``.
"""
__version__ = '0.1.0'

from . import datasets, engine, models  # noqa: E402

__all__ = ['__version__', 'datasets', 'engine', 'models']
