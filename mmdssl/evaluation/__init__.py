from .collapse import CollapseMonitor, effective_rank
from .knn import KNNMetric, knn_classify

__all__ = ['CollapseMonitor', 'KNNMetric', 'effective_rank', 'knn_classify']
