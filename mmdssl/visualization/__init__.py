from .attention import draw_attention

__all__ = ['draw_attention']
