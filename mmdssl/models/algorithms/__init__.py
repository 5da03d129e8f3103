from .adclr import ADCLR
from .bam import BAM
from .base import Algorithm
from .dino import DINO
from .ibot import IBOT
from .pqcl import PQCL

__all__ = ['ADCLR', 'BAM', 'DINO', 'IBOT', 'PQCL', 'Algorithm']
