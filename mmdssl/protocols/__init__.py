"""What is measured of a frozen backbone, and how."""
from .accuracy import AccuracyMetric
from .attention_jaccard import AttentionJaccardMetric, AttentionMasks, NeCoAttentionJaccardMetric
from .closed_form import ClosedFormMetric
from .clustering import ClusteringMetric
from .copy_detection import CopyDetectionMetric
from .correspondence import Correspondence, CorrespondenceMetric
from .cost import CostMetric
from .davis import DAVISMetric
from .dense_knn import HummingbirdMetric
from .depth import DepthMetric, DepthPreprocessor, DepthProbe
from .descriptors import ImageDescriptor
from .discovery import LOST, AttentionDiscovery, CorLocMetric, TokenCut
from .features import Extractor, Features, extract
from .frozen import FrozenBackbone
from .knn import KNNMetric, knn_classify
from .linear import LinearMetric, LinearProbe
from .linear_segmentation import LinearSegmentation, MasksPreprocessor, NormalisedLinearHead, SegmentationMetric
from .logistic import LogisticMetric
from .overclustering import OverclusteringMetric
from .patches import PatchBatch, PatchFeatures
from .per_class import CocoMetric, IoUMetric
from .pose_propagation import PCKMetric, PosePropagation
from .positions import PositionMetric
from .propagation import MaskPropagation
from .retrieval import RetrievalMetric
from .saliency import SaliencyMetric, TokenCutSaliency
from .submission import VideoSubmission
from .vip import VIPMetric

__all__ = ['LOST', 'AccuracyMetric', 'AttentionDiscovery', 'AttentionJaccardMetric', 'AttentionMasks', 'ClosedFormMetric',
           'ClusteringMetric', 'CocoMetric', 'CopyDetectionMetric', 'CorLocMetric', 'Correspondence', 'CorrespondenceMetric',
           'CostMetric', 'DAVISMetric', 'DepthMetric', 'DepthPreprocessor', 'DepthProbe', 'Extractor', 'Features',
           'FrozenBackbone', 'HummingbirdMetric', 'ImageDescriptor', 'IoUMetric', 'KNNMetric', 'LinearMetric', 'LinearProbe',
           'LinearSegmentation', 'LogisticMetric', 'MaskPropagation', 'MasksPreprocessor', 'NeCoAttentionJaccardMetric',
           'NormalisedLinearHead', 'OverclusteringMetric', 'PCKMetric', 'PatchBatch', 'PatchFeatures', 'PosePropagation',
           'PositionMetric', 'RetrievalMetric', 'SaliencyMetric', 'SegmentationMetric', 'TokenCut', 'TokenCutSaliency',
           'VIPMetric', 'VideoSubmission', 'extract', 'knn_classify']
