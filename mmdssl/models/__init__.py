from . import algorithms, backbones, tokenizers
from .classifier import Classifier

__all__ = ['Classifier', 'algorithms', 'backbones', 'tokenizers']
