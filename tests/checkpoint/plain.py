"""Networks written out plainly, in the names of the releases they stand for: what loaded weights must compute."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

DIM, DEPTH, PATCH, GRID = 192, 2, 8, 4


def vit_weights(cls: bool = True, norm: bool = True, positions: str = 'learnable', dim: int = DIM, depth: int = DEPTH,
                patch: int = PATCH, grid: int = GRID, registers: int = 0, seed: int = 0) -> dict[str, Tensor]:
    """Random weights of a vision transformer in the names of DINO; nothing is zero, no norm is the identity.

    ``positions`` is ``'learnable'``, ``'mae'`` or ``'moco'`` (their fixed tables), or ``'none'``.
    """
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int, scale: float = 0.1, mean: float = 0.) -> Tensor:
        return mean + scale * torch.randn(*shape, generator=generator)

    weights = {'patch_embed.proj.weight': random(dim, 3, patch, patch), 'patch_embed.proj.bias': random(dim)}
    if cls:
        weights['cls_token'] = random(1, 1, dim)
    if registers:
        weights['register_tokens'] = random(1, registers, dim)
    if positions == 'learnable':
        weights['pos_embed'] = random(1, int(cls) + grid * grid, dim, scale=0.5)
    elif positions != 'none':
        weights['pos_embed'] = fixed_table(dim, grid, positions)
    norms = [f'blocks.{i}.norm{j}' for i in range(depth) for j in (1, 2)] + ['norm'] * norm
    for name in norms:
        weights.update({f'{name}.weight': random(dim, mean=1.), f'{name}.bias': random(dim)})
    for i in range(depth):
        for name, rows, columns in (('attn.qkv', 3 * dim, dim), ('attn.proj', dim, dim), ('mlp.fc1', 4 * dim, dim),
                                    ('mlp.fc2', dim, 4 * dim)):
            weights[f'blocks.{i}.{name}.weight'] = random(rows, columns, scale=0.1)
            weights[f'blocks.{i}.{name}.bias'] = random(rows)
    return weights


def fixed_table(dim: int, grid: int, order: str) -> Tensor:
    """The sine-cosine table of MAE (columns first) or MoCo v3 (rows first), zero for CLS, number by number."""
    table = torch.zeros(1, 1 + grid * grid, dim)
    for row in range(grid):
        for column in range(grid):
            first, second = (column, row) if order == 'mae' else (row, column)
            for k in range(dim // 4):
                omega = 1 / 10000**(k / (dim / 4))
                values = torch.tensor([first, first, second, second]) * omega
                entry = torch.stack([values[0].sin(), values[1].cos(), values[2].sin(), values[3].cos()])
                table[0, 1 + row * grid + column, k::dim // 4] = entry
    return table


def resized(table: Tensor, height: int, width: int, rule: str) -> Tensor:
    """``(1, G*G, D)`` to ``(1, height*width, D)`` as DINO, timm or MAE do it."""
    grid = round(table.shape[1]**0.5)
    if (height, width) == (grid, grid):
        return table
    image = table.reshape(1, grid, grid, -1).permute(0, 3, 1, 2)
    if rule == 'dino':
        image = F.interpolate(image, scale_factor=((height + 0.1) / grid, (width + 0.1) / grid), mode='bicubic')
    else:
        image = F.interpolate(image, size=(height, width), mode='bicubic', antialias=rule == 'antialias')
    return image.permute(0, 2, 3, 1).reshape(1, height * width, -1)


def plain_vit(weights: dict[str, Tensor], images: Tensor, heads: int, rule: str) -> Tensor:
    """Patch tokens ``(B, N, D)`` after the last block and, where there is one, the final norm."""
    w = weights
    dim, patch = w['patch_embed.proj.weight'].shape[0], w['patch_embed.proj.weight'].shape[-1]
    x = F.conv2d(images, w['patch_embed.proj.weight'], w['patch_embed.proj.bias'], stride=patch)
    height, width = x.shape[-2:]
    x, cls = x.flatten(2).transpose(1, 2), w.get('cls_token')
    if 'pos_embed' in w:
        num_cls = 0 if cls is None else 1
        x = x + resized(w['pos_embed'][:, num_cls:], height, width, rule)
        cls = None if cls is None else cls + w['pos_embed'][:, :1]
    prefix = [token.expand(len(x), -1, -1) for token in (cls, w.get('register_tokens')) if token is not None]
    num_prefix = sum(token.shape[1] for token in prefix)
    x = torch.cat([*prefix, x], dim=1)

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (dim, ), w[f'{name}.weight'], w[f'{name}.bias'], 1e-6)

    def attention(x: Tensor, name: str) -> Tensor:
        bias = w.get(f'{name}.qkv.bias')
        if bias is None:
            bias = torch.cat([w[f'{name}.q_bias'], torch.zeros(dim), w[f'{name}.v_bias']])
        qkv = F.linear(x, w[f'{name}.qkv.weight'], bias).reshape(len(x), -1, 3, heads, dim // heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        logits = q @ k.transpose(-2, -1) * (dim // heads)**-0.5
        table = w.get(f'{name}.relative_position_bias_table', w.get('rel_pos_bias.relative_position_bias_table'))
        if table is not None:
            logits = logits + relative_bias(table, height)
        x = (logits.softmax(-1) @ v).transpose(1, 2).reshape(len(x), -1, dim)
        return F.linear(x, w[f'{name}.proj.weight'], w[f'{name}.proj.bias'])

    def mlp(x: Tensor, name: str) -> Tensor:
        x = F.gelu(F.linear(x, w[f'{name}.fc1.weight'], w[f'{name}.fc1.bias']))
        return F.linear(x, w[f'{name}.fc2.weight'], w[f'{name}.fc2.bias'])

    for i in range(sum(name.endswith('norm1.weight') for name in w)):
        block = f'blocks.{i}'
        scales = [w.get(f'{block}.ls{j}.gamma', w.get(f'{block}.gamma_{j}', 1.)) for j in (1, 2)]
        x = x + scales[0] * attention(norm(x, f'{block}.norm1'), f'{block}.attn')
        x = x + scales[1] * mlp(norm(x, f'{block}.norm2'), f'{block}.mlp')
    return (norm(x, 'norm') if 'norm.weight' in w else x)[:, num_prefix:]


def relative_bias(table: Tensor, grid: int) -> Tensor:
    """BEiT's bias ``(heads, 1+N, 1+N)``, pair by pair."""
    cells = [(i // grid, i % grid) for i in range(grid * grid)]
    rows = [[table[-1], *[table[-3]] * len(cells)]]
    for i, j in cells:
        rows.append([table[-2], *(table[(i - k + grid - 1) * (2 * grid - 1) + j - m + grid - 1] for k, m in cells)])
    return torch.stack([torch.stack(row) for row in rows]).permute(2, 0, 1)


def resnet_weights(width: int = 4) -> dict[str, Tensor]:
    """Random weights of a thin ResNet-50, without a classifier, in torchvision's names."""
    generator = torch.Generator().manual_seed(0)
    weights = {}

    def conv(name: str, norm: str, outputs: int, inputs: int, size: int) -> None:
        kernel = torch.randn(outputs, inputs, size, size, generator=generator)
        weights[f'{name}.weight'] = kernel * (inputs * size * size)**-0.5
        for kind in ('weight', 'bias', 'running_mean', 'running_var'):
            weights[f'{norm}.{kind}'] = torch.rand(outputs, generator=generator) + 0.5
        weights[f'{norm}.num_batches_tracked'] = torch.tensor(7)

    conv('conv1', 'bn1', width, 3, 7)
    inputs = width
    for stage, blocks in enumerate((3, 4, 6, 3), 1):
        middle = width * 2**(stage - 1)
        for i in range(blocks):
            block = f'layer{stage}.{i}'
            conv(f'{block}.conv1', f'{block}.bn1', middle, inputs, 1)
            conv(f'{block}.conv2', f'{block}.bn2', middle, middle, 3)
            conv(f'{block}.conv3', f'{block}.bn3', 4 * middle, middle, 1)
            if i == 0:
                conv(f'{block}.downsample.0', f'{block}.downsample.1', 4 * middle, inputs, 1)
            inputs = 4 * middle
    return weights


def plain_resnet(weights: dict[str, Tensor], images: Tensor) -> Tensor:
    """Map of the last stage."""
    w = weights

    def conv(x: Tensor, name: str, norm: str, stride: int = 1) -> Tensor:
        x = F.conv2d(x, w[f'{name}.weight'], stride=stride, padding=w[f'{name}.weight'].shape[-1] // 2)
        return F.batch_norm(x, *(w[f'{norm}.{kind}'] for kind in ('running_mean', 'running_var', 'weight', 'bias')))

    x = F.max_pool2d(conv(images, 'conv1', 'bn1', 2).relu(), 3, 2, 1)
    for stage, blocks in enumerate((3, 4, 6, 3), 1):
        for i in range(blocks):
            block, stride = f'layer{stage}.{i}', 2 if i == 0 and stage > 1 else 1
            y = conv(x, f'{block}.conv1', f'{block}.bn1').relu()
            y = conv(y, f'{block}.conv2', f'{block}.bn2', stride).relu()
            y = conv(y, f'{block}.conv3', f'{block}.bn3')
            x = (y + (conv(x, f'{block}.downsample.0', f'{block}.downsample.1', stride) if i == 0 else x)).relu()
    return x
