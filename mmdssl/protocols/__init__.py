"""What is measured of a frozen backbone, and how."""
from .accuracy import AccuracyMetric
from .attention_jaccard import AttentionJaccardMetric, AttentionMasks, NeCoAttentionJaccardMetric
from .clustering import ClusteringMetric
from .copy_detection import CopyDetectionMetric
from .cost import CostMetric
from .davis import DAVISMetric
from .descriptors import ImageDescriptor
from .discovery import LOST, AttentionDiscovery, CorLocMetric, TokenCut
from .features import Extractor, Features, extract
from .frozen import FrozenBackbone
from .knn import KNNMetric, knn_classify
from .linear import LinearMetric, LinearProbe
from .logistic import LogisticMetric
from .propagation import MaskPropagation
from .retrieval import RetrievalMetric
from .saliency import SaliencyMetric, TokenCutSaliency

__all__ = ['LOST', 'AccuracyMetric', 'AttentionDiscovery', 'AttentionJaccardMetric', 'AttentionMasks', 'ClusteringMetric',
           'CopyDetectionMetric', 'CorLocMetric', 'CostMetric', 'DAVISMetric', 'Extractor', 'Features', 'FrozenBackbone',
           'ImageDescriptor', 'KNNMetric', 'LinearMetric', 'LinearProbe', 'LogisticMetric', 'MaskPropagation',
           'NeCoAttentionJaccardMetric', 'RetrievalMetric', 'SaliencyMetric', 'TokenCut', 'TokenCutSaliency', 'extract',
           'knn_classify']
