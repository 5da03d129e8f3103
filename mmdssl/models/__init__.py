from . import algorithms, backbones
from .propagation import MaskPropagation

__all__ = ['MaskPropagation', 'algorithms', 'backbones']
