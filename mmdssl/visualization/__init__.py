from .attention import draw_attention
from .correspondence import draw_matches
from .crops import draw_crops
from .masks import overlay, save_video
from .neighbours import draw_neighbours, draw_patch_neighbours, nearest_images, nearest_patches
from .principal import draw_principal, principal_colours
from .queries import draw_queries
from .reconstruction import draw_reconstruction

__all__ = ['draw_attention', 'draw_crops', 'draw_matches', 'draw_neighbours', 'draw_patch_neighbours', 'draw_principal', 'draw_queries',
           'draw_reconstruction', 'nearest_images', 'nearest_patches', 'overlay', 'principal_colours', 'save_video']
