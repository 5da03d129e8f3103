from . import algorithms, backbones

__all__ = ['algorithms', 'backbones']
