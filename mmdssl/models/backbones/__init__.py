from .position_free import PositionFree
from .timm_backbone import TimmBackbone
from .vision_transformer import VisionTransformer

__all__ = ['PositionFree', 'TimmBackbone', 'VisionTransformer']
