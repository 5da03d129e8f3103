from .adclr import ADCLR
from .bam import BAM
from .barlow_twins import BarlowTwins
from .base import Algorithm
from .byol import BYOL
from .dino import DINO
from .ibot import IBOT
from .looc import LooC
from .mocov2 import MoCoV2
from .mocov3 import MoCoV3
from .pqcl import PQCL
from .simclr import SimCLR
from .supcon import SupCon
from .swav import SwAV

__all__ = ['ADCLR', 'BAM', 'BYOL', 'DINO', 'IBOT', 'PQCL', 'Algorithm', 'BarlowTwins', 'LooC', 'MoCoV2', 'MoCoV3', 'SimCLR', 'SupCon',
           'SwAV']
