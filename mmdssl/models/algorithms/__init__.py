from .adclr import ADCLR
from .bam import BAM
from .base import Algorithm
from .dino import DINO
from .ibot import IBOT
from .pqcl import PQCL

__all__ = ['ADCLR', 'Algorithm', 'BAM', 'DINO', 'IBOT', 'PQCL']
