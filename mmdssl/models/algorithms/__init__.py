from .adclr import ADCLR
from .bam import BAM
from .barlow_twins import BarlowTwins
from .base import Algorithm
from .byol import BYOL
from .densecl import DenseCL
from .dino import DINO
from .ibot import IBOT
from .mocov2 import MoCoV2
from .mocov3 import MoCoV3
from .pqcl import PQCL
from .selfpatch import SelfPatch
from .simclr import SimCLR
from .swav import SwAV

__all__ = ['ADCLR', 'BAM', 'BYOL', 'DINO', 'IBOT', 'PQCL', 'Algorithm', 'BarlowTwins', 'DenseCL', 'MoCoV2', 'MoCoV3', 'SelfPatch',
           'SimCLR', 'SwAV']
