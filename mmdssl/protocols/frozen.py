"""A backbone as a model of MMEngine's that is only looked at."""
from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmdssl.registry import MODELS

IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


class FrozenModel(BaseModel):
    """Holds a backbone, with the weights that its config names, and the pixel statistics it wants; stays in eval mode.

    A subclass says in :meth:`predict_sample` what is made of a sample; batches are lists of samples.

    Args:
        backbone: Config of the network.
        mean: Mean of red, green and blue, in 0..255.
        std: Standard deviation of red, green and blue, in the same unit.
        init_cfg: MMEngine's.
    """

    def __init__(self, backbone: dict, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD,
                 init_cfg: dict | None = None):
        super().__init__(init_cfg=init_cfg)
        self.backbone = MODELS.build(backbone)
        self.register_buffer('mean', torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std).view(3, 1, 1), persistent=False)
        self.eval()
        self.init_weights()  # of the backbone; MMEngine only does this before training

    def _dump_init_info(self) -> None:
        """Silence MMEngine's three lines per parameter."""

    def train(self, mode: bool = True) -> FrozenModel:
        """It stays in eval mode."""
        return super().train(False)

    def normalise(self, images: Tensor) -> Tensor:
        """Pixels ``(..., 3, H, W)`` uint8 anywhere as the backbone wants them, on its device."""
        return (images.to(self.mean.device) - self.mean) / self.std

    @torch.no_grad()
    def predict_sample(self, sample: dict) -> dict:
        """What is found in a sample."""
        raise NotImplementedError

    def test_step(self, data: list[dict]) -> list[dict]:
        return self(data)

    def forward(self, samples: list[dict], mode: str = 'predict') -> list[dict]:
        """The predictions of some samples."""
        if mode != 'predict':
            raise ValueError(f"nothing is trained here: the only mode is 'predict', got {mode!r}")
        return [self.predict_sample(sample) for sample in samples]


def cut_to_patches(images: Tensor, backbone: nn.Module) -> Tensor:
    """Images ``(..., H, W)`` without the pixels at the right and at the bottom that fill no patch of a backbone.

    Ours would pad them, which published evaluations do not.
    """
    patch = getattr(backbone, 'patch_size', 1)
    height, width = (max(side - side % patch, patch) for side in images.shape[-2:])
    return images[..., :height, :width]
