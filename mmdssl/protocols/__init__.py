"""What is measured of a frozen backbone, and how."""
from .davis import DAVISMetric
from .features import Extractor, Features, extract
from .knn import KNNMetric, knn_classify
from .propagation import MaskPropagation

__all__ = ['DAVISMetric', 'Extractor', 'Features', 'KNNMetric', 'MaskPropagation', 'extract', 'knn_classify']
