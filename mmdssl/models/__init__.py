from . import algorithms, backbones, tokenizers

__all__ = ['algorithms', 'backbones', 'tokenizers']
