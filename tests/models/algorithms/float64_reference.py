"""The networks and losses in float64, one image, token and pair at a time, written from the papers' equations."""
from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

HEADS, PATCH, FRAME = 2, 8, 4


def linear(x: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    return x @ weights[f'{name}.weight'].T + weights[f'{name}.bias']


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def layer_norm(x: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / (variance + 1e-6).sqrt() * weights[f'{name}.weight'] + weights[f'{name}.bias']


def sincos(x: float, y: float, dim: int) -> Tensor:
    quarter = dim // 4
    out = []
    for value, function in ((x, math.sin), (x, math.cos), (y, math.sin), (y, math.cos)):
        out += [function(value / 10000 ** (k / quarter)) for k in range(quarter)]
    return torch.tensor(out, dtype=torch.float64)


def softmax(logits: Tensor) -> Tensor:
    powers = (logits - logits.max()).exp()
    return powers / powers.sum()


def cross_entropy(target: Tensor, logits: Tensor) -> Tensor:
    """``-sum_k p_k log softmax(s)_k`` of one pair."""
    return -(target * softmax(logits).log()).sum()


class Network:
    """A student or teacher: backbone and head of width D, on one image at a time."""

    def __init__(self, network: torch.nn.Module):
        self.weights = {name: value.detach().double() for name, value in network.state_dict().items()}
        self.dim = self.weights['backbone.cls_token'].shape[-1]

    def pixels(self, patch: Tensor) -> Tensor:
        """Token of the pixels ``(3, P, P)`` of a patch, without position."""
        weight, bias = (self.weights[f'backbone.patch_embed.proj.{name}'] for name in ('weight', 'bias'))
        return torch.stack([(w * patch.double()).sum() for w in weight]) + bias

    def cls_and_patches(self, image: Tensor, mask: Tensor | None, own_grid: bool) -> Tensor:
        """``[CLS, patches]`` of a square image ``(3, H, H)`` as they enter the first block."""
        grid = image.shape[-1] // PATCH
        table = self.weights.get('backbone.pos_embed')
        cls = self.weights['backbone.cls_token'][0, 0]
        if table is not None:
            cls = cls + table[0, 0]
            maps = table[0, 1:].T.reshape(1, self.dim, FRAME, FRAME)
            positions = F.interpolate(maps, size=(grid, grid), mode='bicubic')[0]
        tokens = [cls]
        for row in range(grid):
            for column in range(grid):
                token = self.pixels(image[:, row * PATCH:(row + 1) * PATCH, column * PATCH:(column + 1) * PATCH])
                if mask is not None and mask[row, column]:
                    token = self.weights['backbone.mask_token'][0, 0]
                if table is not None:
                    position = positions[:, row, column]
                elif own_grid:
                    position = sincos(column, row, self.dim)
                else:
                    position = sincos((column + 0.5) * FRAME / grid - 0.5, (row + 0.5) * FRAME / grid - 0.5, self.dim)
                tokens.append(token + position)
        return torch.stack(tokens)

    def __call__(self, image: Tensor, mask: Tensor | None = None, queries: list[Tensor] = (), own_grid: bool = False,
                 ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """CLS, patch tokens and query tokens after the final norm. Each query passes the blocks on its own."""
        x = self.cls_and_patches(image, mask, own_grid)
        queries = list(queries)
        for block in ('backbone.blocks.0', 'backbone.blocks.1'):
            _, keys, values = self.qkv(x, block)
            queries = [self.block(q[None], keys, values, block)[0] for q in queries]
            x = self.block(x, keys, values, block)
        x = layer_norm(x, self.weights, 'backbone.norm')
        return x[0], list(x[1:]), [layer_norm(q, self.weights, 'backbone.norm') for q in queries]

    def qkv(self, x: Tensor, block: str) -> tuple[Tensor, ...]:
        return linear(layer_norm(x, self.weights, f'{block}.norm1'), self.weights, f'{block}.attn.qkv').chunk(3, -1)

    def block(self, x: Tensor, keys: Tensor, values: Tensor, block: str) -> Tensor:
        """Tokens ``(n, D)`` that read the given keys and values."""
        width = self.dim // HEADS
        read = []
        for token in self.qkv(x, block)[0]:
            heads = [slice(h * width, (h + 1) * width) for h in range(HEADS)]
            read.append(torch.cat([softmax(keys[:, h] @ token[h] / math.sqrt(width)) @ values[:, h] for h in heads]))
        x = x + linear(torch.stack(read), self.weights, f'{block}.attn.proj')
        hidden = gelu(linear(layer_norm(x, self.weights, f'{block}.norm2'), self.weights, f'{block}.mlp.fc1'))
        return x + linear(hidden, self.weights, f'{block}.mlp.fc2')

    def logits(self, token: Tensor, stream: str = 'cls') -> Tensor:
        """Token ``(D,)`` through the head to raw logits ``(K,)``."""
        x = gelu(linear(token, self.weights, 'head.mlp.0'))
        x = linear(gelu(linear(x, self.weights, 'head.mlp.2')), self.weights, 'head.mlp.4')
        x = x / (x ** 2).sum().sqrt()
        layer = f'head.last_layer.{stream}.parametrizations.weight'
        magnitude, direction = self.weights[f'{layer}.original0'], self.weights[f'{layer}.original1']
        return torch.stack([g[0] * (v @ x) / (v ** 2).sum().sqrt() for g, v in zip(magnitude, direction)])


def mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean(0)


def assert_equal(actual: Tensor, expected: Tensor) -> None:
    """Up to the rounding of fp32."""
    torch.testing.assert_close(actual.double(), expected, rtol=1e-5, atol=1e-6)


def assert_center_moved(center: torch.nn.Module, before: Tensor, logits: list[Tensor]) -> None:
    """``c <- 0.9 c + 0.1 mean`` over all of the teacher's raw logits."""
    assert_equal(center.center, 0.9 * before + 0.1 * mean(logits))


def cls_loss(teacher: list[list[Tensor]], student: list[list[Tensor]], center: Tensor, temperature: float) -> Tensor:
    """DINO's loss from raw logits ``[view][image]``: mean over the ordered pairs of different views, and images."""
    terms = []
    for t, teacher_view in enumerate(teacher):
        for v, student_view in enumerate(student):
            if t != v:
                terms += [cross_entropy(softmax((a - center) / temperature), b / 0.1)
                          for a, b in zip(teacher_view, student_view)]
    return mean(terms)
