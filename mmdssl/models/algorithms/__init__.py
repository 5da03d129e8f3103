from .adclr import ADCLR
from .bam import BAM
from .barlow_twins import BarlowTwins
from .base import Algorithm
from .beit import BEiT
from .byol import BYOL
from .densecl import DenseCL
from .dino import DINO
from .dvae import DVAE
from .ibot import IBOT
from .looc import LooC
from .mae import MAE
from .maskfeat import MaskFeat
from .mocov2 import MoCoV2
from .mocov3 import MoCoV3
from .pqcl import PQCL
from .selfpatch import SelfPatch
from .simclr import SimCLR
from .supcon import SupCon
from .swav import SwAV

__all__ = ['ADCLR', 'BAM', 'BYOL', 'DINO', 'DVAE', 'IBOT', 'MAE', 'PQCL', 'Algorithm', 'BEiT', 'BarlowTwins', 'DenseCL', 'LooC', 'MaskFeat',
           'MoCoV2', 'MoCoV3', 'SelfPatch', 'SimCLR', 'SupCon', 'SwAV']
