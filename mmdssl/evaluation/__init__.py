from .collapse import CollapseMonitor, effective_rank
from .davis_metric import DAVISMetric
from .knn import KNNMetric, knn_classify

__all__ = ['CollapseMonitor', 'DAVISMetric', 'KNNMetric', 'effective_rank', 'knn_classify']
