"""The discrete VAE that gives BEiT its visual tokens (Ramesh et al., ICML 2021, stage 1; here a small one)."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from mmengine.model import ModuleDict
from torch import Tensor, nn

from mmdssl.datasets.views import Views
from mmdssl.errors import InputError
from mmdssl.models.algorithms.base import Algorithm
from mmdssl.models.diagnostics import code_perplexity
from mmdssl.models.losses.distillation import full_precision
from mmdssl.models.tokenizers.dvae import ResidualBlock
from mmdssl.registry import MODELS
from mmdssl.schedules import cosine


@MODELS.register_module()
class DVAE(Algorithm):
    """Images are drawn again from one code per patch; the choice of a code is softened so that gradients pass.

    Views: ``global``.

    Args:
        backbone: Config of the encoder, a :class:`mmdssl.models.tokenizers.DVAEEncoder`: what is exported, and what BEiT uses.
        temperature: Of the softened choice (Gumbel-softmax), at the start and at the end of a cosine.
        kl_weight: beta, of the divergence of the codes of each patch from the uniform distribution.
        data_preprocessor: Config; by default pixels are 0..1.
        init_cfg: MMEngine's.
    """

    def __init__(self, backbone: dict, temperature: tuple[float, float] = (1., 1 / 16), kl_weight: float = 0.,
                 data_preprocessor: dict | None = None, init_cfg: dict | None = None):
        super().__init__(data_preprocessor or dict(type='mmdssl.ViewsPreprocessor', mean=(0., ) * 3, std=(255., ) * 3), init_cfg)
        encoder = MODELS.build(backbone)
        if not hasattr(encoder, 'maps'):
            raise InputError(f'DVAE trains a tokenizer: make model.backbone a DVAEEncoder, not a {type(encoder).__name__}')
        self.student = ModuleDict(dict(backbone=encoder, decoder=Drawer(encoder.num_codes, encoder.embed_dim, encoder.stride)))
        self.temperature = temperature
        self.kl_weight = kl_weight
        self._codes: Tensor | None = None

    @property
    def backbone(self) -> nn.Module:
        return self.student.backbone

    def loss(self, views: Views) -> dict[str, Tensor]:
        """``loss_drawing``: mean squared error of the pixels; ``loss_uniform`` where it has a weight."""
        self.check(views, ['global'])
        images = views['global'].images.flatten(0, 1)
        maps = self.backbone.maps(images)
        logits = self.backbone.head(maps)
        self.remember_features(maps.mean((2, 3)))
        self._codes = logits.detach().argmax(1)
        chosen = gumbel_softmax(logits, cosine(*self.temperature, self.progress))
        drawn = self.student.decoder(chosen.to(logits.dtype))
        terms = dict(loss_drawing=F.mse_loss(drawn.to(images.dtype), images))
        if self.kl_weight:
            terms['loss_uniform'] = self.kl_weight * divergence_from_uniform(logits)
        return terms

    def diagnostics(self) -> dict[str, float]:
        """Also ``code_perplexity``: so many codes of the vocabulary are used as if all were used alike."""
        if self._codes is None:
            return {}
        return super().diagnostics() | dict(code_perplexity=code_perplexity(self._codes, self.backbone.num_codes))

    @torch.no_grad()
    def pictures(self, views: Views) -> dict[str, Tensor]:
        """Images and what is drawn from their codes alone, ``(V*B, 3, H, W)`` in 0..1."""
        images = views['global'].images.flatten(0, 1)
        codes = F.one_hot(self.backbone.tokenize(images), self.backbone.num_codes).movedim(-1, 1)
        return dict(image=images.clamp(0, 1), drawn=self.student.decoder(codes.to(images.dtype)).clamp(0, 1))


class Drawer(nn.Sequential):
    """Distributions over codes ``(B, K, h, w)`` to pixels ``(B, 3, h * stride, w * stride)``; the mirror image of the encoder."""

    def __init__(self, num_codes: int, width: int, stride: int, depth: int = 2):
        layers = [nn.Conv2d(num_codes, width, 1), *(ResidualBlock(width) for _ in range(depth))]
        while stride > 1:
            layers += [nn.ReLU(), nn.ConvTranspose2d(width, max(width // 2, 16), 4, stride=2, padding=1)]
            width, stride = max(width // 2, 16), stride // 2
        super().__init__(*layers, nn.ReLU(), nn.Conv2d(width, 3, 1))

    def forward(self, codes: Tensor) -> Tensor:
        return super().forward(codes) + 0.5


@full_precision
def gumbel_softmax(logits: Tensor, temperature: float) -> Tensor:
    """A softened draw from the distributions ``softmax(logits)`` along dimension 1: softmax((logits + g) / T), g Gumbel noise."""
    return F.gumbel_softmax(logits, temperature, dim=1)


@full_precision
def divergence_from_uniform(logits: Tensor) -> Tensor:
    """Mean over patches of KL(softmax(logits) || uniform) along dimension 1, in nats."""
    log_q = logits.log_softmax(1)
    return (log_q.exp() * (log_q + torch.tensor(logits.shape[1]).log())).sum(1).mean()
