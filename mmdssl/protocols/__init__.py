"""What is measured of a frozen backbone, and how."""
from .accuracy import AccuracyMetric
from .attention_jaccard import AttentionJaccardMetric, AttentionMasks
from .clustering import ClusteringMetric
from .copy_detection import CopyDetectionMetric
from .cost import CostMetric
from .davis import DAVISMetric
from .dense_knn import HummingbirdMetric
from .descriptors import ImageDescriptor
from .features import Extractor, Features, extract
from .frozen import FrozenBackbone
from .knn import KNNMetric, knn_classify
from .linear import LinearMetric, LinearProbe
from .linear_segmentation import LinearSegmentation, MasksPreprocessor, NormalisedLinearHead, SegmentationMetric
from .logistic import LogisticMetric
from .patches import PatchBatch, PatchFeatures
from .propagation import MaskPropagation
from .retrieval import RetrievalMetric

__all__ = ['AccuracyMetric', 'AttentionJaccardMetric', 'AttentionMasks', 'ClusteringMetric', 'CopyDetectionMetric', 'CostMetric',
           'DAVISMetric', 'Extractor', 'Features', 'FrozenBackbone', 'HummingbirdMetric', 'ImageDescriptor', 'KNNMetric', 'LinearMetric',
           'LinearProbe', 'LinearSegmentation', 'LogisticMetric', 'MaskPropagation', 'MasksPreprocessor', 'NormalisedLinearHead',
           'PatchBatch', 'PatchFeatures', 'RetrievalMetric', 'SegmentationMetric', 'extract', 'knn_classify']
