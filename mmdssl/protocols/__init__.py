"""What is measured of a frozen backbone, and how."""
from .accuracy import AccuracyMetric
from .davis import DAVISMetric
from .features import Extractor, Features, extract
from .frozen_backbone import FrozenBackbone
from .knn import KNNMetric, knn_classify
from .linear import LinearMetric, LinearProbe
from .propagation import MaskPropagation

__all__ = ['AccuracyMetric', 'DAVISMetric', 'Extractor', 'Features', 'FrozenBackbone', 'KNNMetric', 'LinearMetric', 'LinearProbe',
           'MaskPropagation', 'extract', 'knn_classify']
