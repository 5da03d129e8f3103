"""Video object segmentation with a frozen backbone."""
from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from torch import Tensor

from mmdssl.errors import InputError
from mmdssl.evaluation.propagation import masks_of_labels, propagate, tokens_of_mask
from mmdssl.registry import MODELS

PRECISIONS = dict(bf16=torch.bfloat16, fp16=torch.float16)


@MODELS.register_module()
class MaskPropagation(BaseModel):
    """Carries the mask of a video's first frame through it, by the similarity of a backbone's features.

    See :func:`mmdssl.evaluation.propagation.propagate`. Nothing is trained.

    Args:
        backbone: Config of a network that gives feature maps ``(B, D, h, w)`` of images ``(B, 3, H, W)``; the last map
            is used. Its stride must divide the images.
        context_frames: Number of frames before the current one that are context, besides the first; several numbers are
            evaluated one after another on the same features.
        radius: Context tokens are at most so many rows and columns away; None for no limit.
        top_k: So many context tokens count.
        temperature: Of their weights.
        frames_per_forward: Images the backbone is given at a time.
        amp: ``'bf16'`` or ``'fp16'`` for a backbone in mixed precision.
        copy_first: Predict the first mask for every frame instead: what a method must beat.
        mean: Mean of red, green and blue, in 0..255; ImageNet's by default.
        std: Standard deviation of red, green and blue, in the same unit. DINO's evaluation divides red by 0.228 * 255,
            not by the usual 0.229 * 255.
        init_cfg: MMEngine's.
    """

    def __init__(self, backbone: dict, context_frames: int | Sequence[int] = 7, radius: int | None = 12,
                 top_k: int = 5, temperature: float = 0.1, frames_per_forward: int = 8, amp: str | None = None,
                 copy_first: bool = False, mean: Sequence[float] = (123.675, 116.28, 103.53),
                 std: Sequence[float] = (58.14, 57.12, 57.375), init_cfg: dict | None = None):
        super().__init__(init_cfg=init_cfg)
        if amp not in (None, *PRECISIONS):
            raise InputError(f'amp is one of None, {", ".join(map(repr, PRECISIONS))}, got {amp!r}')
        self.backbone = MODELS.build(backbone)
        self.context_frames = context_frames
        self.options = dict(radius=radius, top_k=top_k, temperature=temperature)
        self.frames_per_forward = frames_per_forward
        self.amp = amp
        self.copy_first = copy_first
        self.register_buffer('mean', torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std).view(3, 1, 1), persistent=False)
        self.eval()
        self.init_weights()  # of the backbone; MMEngine only does this before training

    def _dump_init_info(self) -> None:
        """Silence MMEngine's three lines per parameter."""

    def train(self, mode: bool = True) -> MaskPropagation:
        """It stays in eval mode."""
        return super().train(False)

    def test_step(self, data: list[dict]) -> list[dict]:
        return self(data)

    def forward(self, sequences: list[dict], mode: str = 'predict') -> list[dict]:
        """Predict the masks of some sequences of :class:`mmdssl.datasets.DAVIS`.

        Returns:
            For each sequence ``masks``, see :meth:`predict`, and the ``seconds`` it took.
        """
        if mode != 'predict':
            raise ValueError(f"nothing is trained here: the only mode is 'predict', got {mode!r}")
        predictions = []
        for sequence in sequences:
            start = time.perf_counter()
            masks = self.predict(sequence['frames'], sequence['first_mask'].numpy())
            predictions.append(dict(masks=masks, seconds=time.perf_counter() - start))
        return predictions

    @torch.no_grad()
    def predict(self, frames: Tensor, first_mask: np.ndarray) -> dict[str, np.ndarray]:
        """Masks of a video.

        Args:
            frames: ``(T, 3, h, w)`` uint8 RGB.
            first_mask: Ids ``(H, W)`` uint8 of the first frame.

        Returns:
            Ids ``(T, H, W)`` uint8, those of the first frame as given, under the name ``''``, or, where
            ``context_frames`` has several numbers n, one such under each name ``f'context{n}'``.
        """
        if self.copy_first:
            return {'': np.broadcast_to(first_mask, (len(frames), *first_mask.shape))}
        features = self.features(frames)
        first = tokens_of_mask(first_mask, features.shape[-2:]).to(features.device)
        single = isinstance(self.context_frames, int)
        predictions = {}
        for number in (self.context_frames, ) if single else self.context_frames:
            with torch.autocast(features.device.type, enabled=False):  # also where test_cfg.fp16 is set
                labels = propagate(features, first, number, **self.options)
            masks = masks_of_labels(labels, frames.shape[-2:], first_mask.shape)
            masks[0] = first_mask
            predictions['' if single else f'context{number}'] = masks
        return predictions

    def features(self, frames: Tensor) -> Tensor:
        """L2-normalised features ``(T, D, h, w)`` fp32 of frames ``(T, 3, H, W)`` uint8, on this model's device."""
        features = []
        for some in frames.split(self.frames_per_forward):
            images = (some.to(self.mean.device) - self.mean) / self.std
            with torch.autocast(images.device.type, PRECISIONS.get(self.amp), enabled=self.amp is not None):
                maps = self.backbone(images)
            features.append(F.normalize((maps if isinstance(maps, Tensor) else maps[-1]).float(), dim=1))
        features = torch.cat(features)
        (height, width), (rows, columns) = frames.shape[-2:], features.shape[-2:]
        if height % rows or width % columns or height // rows != width // columns:
            raise InputError(f'the backbone makes {rows} x {columns} features of frames of {height} x {width} pixels, '
                             'which is no whole number of pixels each: set short_side and long_side_step of the data '
                             "to multiples of the backbone's stride")
        return features
