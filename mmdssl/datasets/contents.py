"""What the package offers; who imports this module registers all of it."""
from mmdssl.datasets.base import ImageDataset, collate_views
from mmdssl.datasets.coco_images import CocoImages
from mmdssl.datasets.copydays import Copydays
from mmdssl.datasets.davis import DAVIS
from mmdssl.datasets.image_folder import ImageFolder
from mmdssl.datasets.image_list import ImageList
from mmdssl.datasets.jhmdb import JHMDB
from mmdssl.datasets.labelled_folder import LabelledFolder
from mmdssl.datasets.labelled_views import LabelledViews
from mmdssl.datasets.nyu import NYUDepth
from mmdssl.datasets.object_boxes import CocoBoxes, VOCBoxes
from mmdssl.datasets.preprocessor import ViewsPreprocessor
from mmdssl.datasets.retrieval import RevisitedDataset
from mmdssl.datasets.salient_objects import SalientObjects
from mmdssl.datasets.samplers import EndlessSampler, EpochSampler
from mmdssl.datasets.segmented_images import SegmentedImages
from mmdssl.datasets.spair import SPair
from mmdssl.datasets.tar_images import TarImages
from mmdssl.datasets.transfer import TransferDataset
from mmdssl.datasets.views import ViewGroup, Views
from mmdssl.datasets.vip import VIP
from mmdssl.datasets.voc_instances import VOCInstances
from mmdssl.datasets.vos import VideoObjects

__all__ = ['DAVIS', 'JHMDB', 'VIP', 'CocoBoxes', 'CocoImages', 'Copydays', 'EndlessSampler', 'EpochSampler', 'ImageDataset', 'ImageFolder',
           'ImageList', 'LabelledFolder', 'LabelledViews', 'NYUDepth', 'RevisitedDataset', 'SPair', 'SalientObjects', 'SegmentedImages',
           'TarImages', 'TransferDataset', 'VOCBoxes', 'VOCInstances', 'VideoObjects', 'ViewGroup', 'Views', 'ViewsPreprocessor',
           'collate_views']
