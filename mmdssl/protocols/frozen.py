"""A backbone as a model of MMEngine's that is only looked at, and metrics of what is found in samples."""
from __future__ import annotations

import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmdssl.errors import InputError
from mmdssl.registry import MODELS


@MODELS.register_module()
class FrozenBackbone(BaseModel):
    """A backbone, with the weights that its config names, which stays in eval mode: what protocols on frozen features measure.

    :class:`mmdssl.engine.ProtocolLoop` reads its features. For MMEngine's loop over batches, lists of samples, a subclass says in
    :meth:`predict_sample` what is made of a sample.

    Args:
        backbone: Config of the network.
        data_preprocessor: Of images; ImageNet's mean and deviation by default.
        init_cfg: MMEngine's.
    """

    def __init__(self, backbone: dict, data_preprocessor: dict | None = None, init_cfg: dict | None = None):
        super().__init__(data_preprocessor or dict(type='mmdssl.ViewsPreprocessor'), init_cfg)
        self.backbone = MODELS.build(backbone)
        self.eval()
        self.init_weights()  # of the backbone; MMEngine only does this before training

    def _dump_init_info(self) -> None:
        """Silence MMEngine's three lines per parameter."""

    def train(self, mode: bool = True) -> FrozenBackbone:
        """It stays in eval mode."""
        return super().train(False)

    @torch.no_grad()
    def predict_sample(self, sample: dict) -> dict:
        """What is found in a sample.

        Raises:
            InputError: This model is for protocols on features.
        """
        raise InputError(f'{type(self).__name__} makes nothing of single samples: set test_cfg.type to ProtocolLoop, which reads its '
                         'features')

    def test_step(self, data: list[dict]) -> list[dict]:
        return self(data)

    def forward(self, samples: list[dict], mode: str = 'predict') -> list[dict]:
        """The predictions of some samples."""
        if mode != 'predict':
            raise ValueError(f"nothing is trained here: the only mode is 'predict', got {mode!r}")
        return [self.predict_sample(sample) for sample in samples]


class SampleMetric(BaseMetric):
    """What metrics of single samples share; what they find is gathered by the process group.

    Args:
        prefix: MMEngine's.
    """
    default_prefix = ''  # None would warn

    def __init__(self, prefix: str | None = None):
        super().__init__(collect_device='gpu', prefix=prefix)  # which means by the process group, not by files


def cut_to_patches(images: Tensor, backbone: nn.Module) -> Tensor:
    """Images ``(..., H, W)`` without the pixels at the right and at the bottom that fill no patch of a backbone.

    Ours would pad them, which published evaluations do not.
    """
    patch = getattr(backbone, 'patch_size', 1)
    height, width = (max(side - side % patch, patch) for side in images.shape[-2:])
    return images[..., :height, :width]
