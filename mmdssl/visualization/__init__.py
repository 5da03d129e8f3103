from .attention import draw_attention
from .crops import draw_crops
from .masks import overlay, save_video

__all__ = ['draw_attention', 'draw_crops', 'overlay', 'save_video']
