"""A small world that mmdssl renders itself: labelled pictures, instances, label maps and clips, without a download."""
from .writers import make_sample_world

__all__ = ['make_sample_world']
