from .attention import draw_attention
from .crops import draw_crops
from .masks import overlay, save_video
from .reconstruction import draw_reconstruction

__all__ = ['draw_attention', 'draw_crops', 'draw_reconstruction', 'overlay', 'save_video']
