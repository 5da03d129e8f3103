"""mmdssl: self-supervised pretraining for dense prediction, on OpenMMLab.

Importing the package registers its components in the scope ``mmdssl``, and makes ``mmcv.ops`` work without mmcv's
compiled extension and ``mmseg::`` configs under any name of its distribution.
"""
__version__ = '0.1.0'

from .compat import provide_mmcv_ops, provide_mmseg_configs

provide_mmcv_ops()  # before anything imports mmcv.ops, as mmdet and mmseg do
provide_mmseg_configs()

from . import datasets, engine, models, protocols  # noqa: E402

__all__ = ['__version__', 'datasets', 'engine', 'models', 'protocols']
