"""Configs of tiny algorithms by their name."""
from __future__ import annotations

HEAD = dict(num_prototypes=12, hidden_dim=20, bottleneck_dim=6)
WITH_HEAD = ('DINO', 'IBOT', 'ADCLR', 'PQCL')
PROJECTOR = dict(hidden_dim=20, out_dim=12)


def config_of(name: str, backbone: dict, **kwargs) -> dict:
    """The head or projector that a method needs is tiny, but for what ``kwargs`` say of it."""
    part, sizes = ('head', HEAD) if name in WITH_HEAD else ('projector', PROJECTOR)
    if name == 'SelfPatch':
        part, sizes = 'head', dict(cls=HEAD, patch=dict(HEAD, num_prototypes=9))
    kwargs[part] = dict(sizes, **kwargs.get(part, {}))
    return dict(type=f'mmdssl.{name}', backbone=backbone, **kwargs)
