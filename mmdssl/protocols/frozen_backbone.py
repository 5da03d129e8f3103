"""A backbone and nothing else, for protocols that read its features."""
from __future__ import annotations

from mmengine.model import BaseModel

from mmdssl.registry import MODELS


@MODELS.register_module()
class FrozenBackbone(BaseModel):
    """What :class:`mmdssl.engine.ProtocolLoop` measures where no algorithm trains: the model of ``configs/classification``.

    Args:
        backbone: Config of the network, any that has ``features(images)``.
        data_preprocessor: Of images; ImageNet's mean and deviation by default.
        init_cfg: MMEngine's.
    """

    def __init__(self, backbone: dict, data_preprocessor: dict | None = None, init_cfg: dict | None = None):
        super().__init__(data_preprocessor or dict(type='mmdssl.ViewsPreprocessor'), init_cfg)
        self.backbone = MODELS.build(backbone)
        self.init_weights()  # MMEngine only does this before training

    def forward(self, *args, **kwargs) -> None:
        raise ValueError('nothing is trained here: call its backbone for features')
