"""Projection heads and projectors."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from timm.layers import trunc_normal_
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from mmdssl.arguments import PositiveInt, at_least
from mmdssl.models.losses.distillation import at_least_fp32
from mmdssl.registry import MODELS

ACTIVATIONS = dict(gelu=nn.GELU, relu=nn.ReLU)


@MODELS.register_module()
class DINOHead(nn.Module):
    """DINO's head: an MLP to an L2-normalised bottleneck, then similarities to weight-normalised prototypes.

    Args:
        in_dim: Width of the tokens.
        num_prototypes: K.
        hidden_dim: Width of the MLP.
        bottleneck_dim: Width of its output.
        num_layers: Linear layers of the MLP.
        use_bn: Batch normalisation before each activation.
        norm_last_layer: Keep the prototypes at length 1 (steadier; DINO's choice for ViT-B). Otherwise the length is learned.
        streams: Names of the token streams that own prototypes; a stream without its own uses the first one's. The MLP is always
            shared (iBOT).
    """

    def __init__(self, in_dim: PositiveInt, num_prototypes: Annotated[int, at_least(2)] = 65536, hidden_dim: PositiveInt = 2048,
                 bottleneck_dim: PositiveInt = 256, num_layers: PositiveInt = 3, use_bn: bool = False, norm_last_layer: bool = False,
                 streams: Sequence[str] = ('cls', )):
        super().__init__()
        self.num_prototypes = num_prototypes
        self.mlp = nn.Sequential(*_mlp(in_dim, hidden_dim, bottleneck_dim, num_layers, nn.GELU, use_bn))
        self.last_layer = nn.ModuleDict()
        for stream in streams:
            layer = weight_norm(nn.Linear(bottleneck_dim, num_prototypes, bias=False))
            magnitude = layer.parametrizations.weight.original0
            nn.init.ones_(magnitude)
            magnitude.requires_grad_(not norm_last_layer)
            self.last_layer[stream] = layer

    def project(self, tokens: Tensor) -> Tensor:
        """Tokens ``(rows, D)`` to unit vectors ``(rows, bottleneck)`` in fp32."""
        return F.normalize(at_least_fp32(self.mlp(tokens)), dim=-1)

    def project_streams(self, tokens: dict[str, Tensor]) -> dict[str, Tensor]:
        """Run the MLP once over the tokens of all streams: ``(..., D)`` to ``(..., bottleneck)``."""
        rows = [t.flatten(0, -2) for t in tokens.values()]
        projected = self.project(torch.cat(rows)).split([len(r) for r in rows])
        return {stream: z.unflatten(0, t.shape[:-1]) for (stream, t), z in zip(tokens.items(), projected)}

    def score(self, bottleneck: Tensor, stream: str = 'cls') -> Tensor:
        """Unit vectors ``(..., bottleneck)`` to logits ``(..., K)``. Linear: the mean of the logits is the score of the mean."""
        layer = self.last_layer[stream] if stream in self.last_layer else next(iter(self.last_layer.values()))
        return layer(bottleneck)


@MODELS.register_module()
class SeparateHeads(nn.ModuleDict):
    """A :class:`DINOHead` for each token stream, where they share nothing; used like a single one.

    Args:
        in_dim: Width of the tokens.
        heads: Arguments of the head of each stream, by its name.
    """

    def __init__(self, in_dim: int, **heads: Mapping):
        super().__init__({stream: DINOHead(in_dim, **arguments) for stream, arguments in heads.items()})

    @property
    def num_prototypes(self) -> int:
        """K of the class tokens."""
        return self['cls'].num_prototypes

    @property
    def last_layer(self) -> nn.ModuleList:
        return nn.ModuleList(head.last_layer for head in self.values())

    def project_streams(self, tokens: dict[str, Tensor]) -> dict[str, Tensor]:
        """Tokens ``(..., D)`` by stream to ``(..., bottleneck)``."""
        return {stream: self[stream].project_streams({stream: t})[stream] for stream, t in tokens.items()}

    def score(self, bottleneck: Tensor, stream: str = 'cls') -> Tensor:
        """As :meth:`DINOHead.score`."""
        return self[stream].score(bottleneck)


@MODELS.register_module()
class MLPProjector(nn.Sequential):
    """An MLP from features ``(rows, in_dim)`` to latents ``(rows, out_dim)``: a projector, or the predictor behind it.

    Args:
        in_dim: Width of the features.
        hidden_dim: Width of the hidden layers.
        out_dim: Width of the latents.
        num_layers: Linear layers.
        activation: Between the layers, ``'gelu'`` (BAM with a transformer) or ``'relu'``.
        norm: Batch normalisation after every linear layer.
        last_norm: After the last one, too: ``'plain'``, without scale and shift; ``'affine'``; or None, without. Only with ``norm``.
        bias: Of the linear layers.
        last_bias: Of the last one; None for as ``bias``.
    """

    def __init__(self, in_dim: PositiveInt, hidden_dim: PositiveInt = 4096, out_dim: PositiveInt = 4096,
                 num_layers: PositiveInt = 3, activation: Literal[tuple(ACTIVATIONS)] = 'gelu', norm: bool = False,
                 last_norm: Literal['plain', 'affine'] | None = 'plain', bias: bool = True, last_bias: bool | None = None):
        layers = _mlp(in_dim, hidden_dim, out_dim, num_layers, ACTIVATIONS[activation], norm, bias)
        if last_bias is not None and last_bias != bias:
            layers[-1] = _linear(layers[-1].in_features, out_dim, last_bias)
        if norm and last_norm:
            layers.append(nn.BatchNorm1d(out_dim, affine=last_norm == 'affine'))
        super().__init__(*layers)


@MODELS.register_module()
class ParallelProjectors(nn.ModuleList):
    """Projectors side by side: features ``(rows, in_dim)`` to latents ``(rows, number, out_dim)``.

    Args:
        in_dim: Width of the features.
        number: Of projectors.
        split: The first projector reads the first share of the features, and so on, instead of each all of them.
        **kwargs: Arguments of each :class:`MLPProjector`.
    """

    def __init__(self, in_dim: int, number: int, split: bool = False, **kwargs):
        self.split = split
        super().__init__(MLPProjector(in_dim // number if split else in_dim, **kwargs) for _ in range(number))

    def forward(self, features: Tensor) -> Tensor:
        shares = features.chunk(len(self), dim=-1) if self.split else [features] * len(self)
        return torch.stack([projector(share) for projector, share in zip(self, shares)], dim=1)


def _mlp(in_dim: int, hidden_dim: int, out_dim: int, num_layers: int, activation: type[nn.Module], norm: bool,
         bias: bool = True) -> list[nn.Module]:
    """Linear layers with an activation between them, and batch normalisation before it."""
    widths = [in_dim, *[hidden_dim] * (num_layers - 1), out_dim]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        if layers:
            layers += [nn.BatchNorm1d(before), activation()] if norm else [activation()]
        layers.append(_linear(before, after, bias))
    return layers


def _linear(in_dim: int, out_dim: int, bias: bool) -> nn.Linear:
    layer = nn.Linear(in_dim, out_dim, bias)
    trunc_normal_(layer.weight, std=.02)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer
