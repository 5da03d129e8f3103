from .attention import draw_attention
from .masks import overlay, save_mask, save_video, voc_palette

__all__ = ['draw_attention', 'overlay', 'save_mask', 'save_video', 'voc_palette']
