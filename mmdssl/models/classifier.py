"""A classifier on a backbone, for fine-tuning."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from timm.data import Mixup
from timm.data.random_erasing import RandomErasing
from timm.layers import trunc_normal_
from timm.loss import SoftTargetCrossEntropy
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from mmdssl.arguments import NonNegative, PositiveInt, Share
from mmdssl.datasets.seeding import seeded
from mmdssl.datasets.views import Views
from mmdssl.errors import InputError
from mmdssl.models.algorithms.base import Algorithm
from mmdssl.registry import MODELS


@MODELS.register_module()
class Classifier(Algorithm):
    """A backbone and a linear layer, trained together with timm's random erasing, mixup, CutMix and model EMA.

    Views: ``global`` (one), with labels.

    Args:
        backbone: Config of the backbone; ``init_cfg`` loads its weights.
        num_classes: Classes.
        read: What the linear layer sees: ``'class'``, the class token after the final norm (DeiT, iBOT); ``'mean'``, the mean of the last
            map, about whose final norm ``out_norm`` of the backbone decides (MAE); ``'pooled'``, what the backbone takes for a vector of
            the image.
        norm: A layer norm before the linear layer.
        head_std: Of the linear layer's initial weights, truncated normal; biases start at 0.
        mixup: Alpha of mixup; 0 for none.
        cutmix: Alpha of CutMix; 0 for none.
        mix_prob: Probability that a batch is mixed at all.
        switch_prob: Probability of CutMix where there is mixup too.
        label_smoothing: Share of the target that is spread over all classes.
        erasing: Probability that a rectangle of an image is replaced by normal noise.
        ema: Decay of a moving average of all weights and buffers, which is evaluated too, as ``ema_top1``; None for none.
        data_preprocessor: Config; the default normalises with ImageNet's statistics.
        init_cfg: MMEngine's.

    Raises:
        InputError: The backbone has not what is to be read; when called: batches of an odd number of images are to be mixed.
    """

    def __init__(self, backbone: dict, num_classes: PositiveInt, read: Literal['class', 'mean', 'pooled'] = 'class', norm: bool = False,
                 head_std: NonNegative = 0.02, mixup: NonNegative = 0., cutmix: NonNegative = 0., mix_prob: Share = 1.,
                 switch_prob: Share = .5, label_smoothing: Share = 0., erasing: Share = 0., ema: Share | None = None,
                 data_preprocessor: dict | None = None, init_cfg: dict | None = None):
        super().__init__(data_preprocessor, init_cfg)
        self.num_classes = num_classes
        self.read = read
        self.backbone = MODELS.build(backbone)
        if read == 'class' and getattr(self.backbone, 'cls_token', None) is None:
            raise InputError(f"read='class' needs a transformer with a class token, and {type(self.backbone).__name__} has none here: set "
                             "model.read to 'pooled'")
        width = self.backbone.map_dim if read == 'mean' else self.backbone.embed_dim
        linear = nn.Linear(width, num_classes)
        trunc_normal_(linear.weight, std=head_std)
        nn.init.zeros_(linear.bias)
        self.head = nn.Sequential(nn.LayerNorm(width, eps=1e-6), linear) if norm else linear
        self.label_smoothing = label_smoothing
        self.erasing = erasing
        self.mixup = Mixup(mixup, cutmix, prob=mix_prob, switch_prob=switch_prob, label_smoothing=label_smoothing,
                           num_classes=num_classes) if mixup or cutmix else None
        self.soft_loss = SoftTargetCrossEntropy()
        self.ema = None if ema is None else ModelEmaV3(self._trained(), decay=ema).requires_grad_(False)

    def _trained(self) -> nn.ModuleList:
        return nn.ModuleList([self.backbone, self.head])

    def init_weights(self) -> None:
        super().init_weights()
        if self.ema is not None:
            self.ema.set(self._trained())

    def loss(self, views: Views) -> dict[str, Tensor]:
        """``loss_cls``: cross-entropy with the labels, or with those of the images that were mixed."""
        self.check(views, ['global'])
        images, labels = views['global'].images[0], views.labels
        with seeded(int(torch.randint(2**31, ()))):  # timm draws from generators that the engine does not seed
            if self.erasing:
                images = RandomErasing(self.erasing, mode='pixel', device=images.device)(images)
            if self.mixup:
                if len(images) % 2:
                    raise InputError(f'mixup and CutMix pair the images of a batch, and there are {len(images)}: make '
                                     'train_dataloader.batch_size even')
                images, labels = self.mixup(images, labels)
        logits = self._logits(self.backbone, self.head, images)
        if self.mixup:
            return dict(loss_cls=self.soft_loss(logits, labels))
        return dict(loss_cls=F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing))

    def _logits(self, backbone: nn.Module, head: nn.Module, images: Tensor) -> Tensor:
        if self.read == 'mean':
            features = backbone(images)[-1].mean((2, 3))
        else:
            features = backbone.forward_tokens(images).cls if self.read == 'class' else backbone.features(images)
        return head(features).float()

    def after_step(self) -> None:
        if self.ema is not None:
            self.ema.update(self._trained())

    def scores(self, images: Tensor) -> Tensor:
        """Logits ``(B, H, K)`` of normalised images, by the network and, where there is one, by its moving average."""
        networks = [self._trained()] + ([] if self.ema is None else [self.ema.module])
        return torch.stack([self._logits(*network, images) for network in networks], dim=1)

    def summary(self, accuracy: Mapping[str, Sequence[float]]) -> dict[str, float]:
        """What is reported of their accuracies."""
        return {f'{prefix}{name}': value for name, values in accuracy.items() for prefix, value in zip(('', 'ema_'), values)}
