"""Tokenizers give each patch of an image one of a vocabulary of codes: BEiT's targets.

A tokenizer is a module of ``MODELS`` with ``num_codes``, the size of its vocabulary; ``stride``, the side in pixels of what a code
stands for; and ``tokenize(images) -> codes``, RGB images ``(B, 3, H, W)`` in 0..1 to integers ``(B, H / stride, W / stride)`` below
``num_codes``. Anybody's own one is used as ``model.tokenizer=dict(type=...)`` once it is registered (``custom_imports``).
"""
from .dvae import DVAEEncoder
from .random_projection import RandomProjectionTokenizer

__all__ = ['DVAEEncoder', 'RandomProjectionTokenizer']
