"""What the package offers; who imports this module registers all of it."""
from mmdssl.datasets.transforms.background import LoadSaliency, SwapBackground
from mmdssl.datasets.transforms.crops import CropViews
from mmdssl.datasets.transforms.label_map import LoadLabelMap
from mmdssl.datasets.transforms.leave_one_out import LeaveOneOutViews, RightAngle
from mmdssl.datasets.transforms.load_image import LoadImage
from mmdssl.datasets.transforms.masks import BlockMask, RandomMask
from mmdssl.datasets.transforms.photometric import Photometric
from mmdssl.datasets.transforms.rand_augment import RandAugment

__all__ = ['BlockMask', 'CropViews', 'LeaveOneOutViews', 'LoadImage', 'LoadLabelMap', 'LoadSaliency', 'Photometric', 'RandAugment',
           'RandomMask', 'RightAngle', 'SwapBackground']
