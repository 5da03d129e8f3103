from .backbone_file import load_backbone, save_backbone
from .convert import convert_checkpoint
from .layout import Pretrained
from .pretrained import LoadReport, SSLPretrained, backbone_config, load_pretrained, read_pretrained

__all__ = [
    'LoadReport', 'Pretrained', 'SSLPretrained', 'backbone_config', 'convert_checkpoint', 'load_backbone',
    'load_pretrained', 'read_pretrained', 'save_backbone'
]
