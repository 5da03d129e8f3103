"""What is measured of a frozen backbone, and how."""
from .davis import DAVISMetric
from .knn import KNNMetric, knn_classify
from .propagation import MaskPropagation

__all__ = ['DAVISMetric', 'KNNMetric', 'MaskPropagation', 'knn_classify']
