from .backbone_file import load_backbone, save_backbone

__all__ = ['load_backbone', 'save_backbone']
