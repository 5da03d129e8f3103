from .attention import draw_attention
from .correspondence import draw_matches
from .crops import draw_crops
from .masks import overlay, save_video
from .reconstruction import draw_reconstruction

__all__ = ['draw_attention', 'draw_crops', 'draw_matches', 'draw_reconstruction', 'overlay', 'save_video']
