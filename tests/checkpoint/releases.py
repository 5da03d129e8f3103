"""Synthetic checkpoints in the form of the methods' releases."""
from __future__ import annotations

import argparse
import re
from typing import NamedTuple

import torch
from plain import DEPTH, DIM, GRID, PATCH, fixed_table, vit_weights
from torch import Tensor

Weights = dict[str, Tensor]


class Release(NamedTuple):
    """A checkpoint and what it should compute.

    Attributes:
        content: What is saved.
        weights: The backbone in it, for :func:`plain.plain_vit`.
        layout: What it should be recognised as.
        heads: Of the published architecture.
        rule: By which positions are resized.
    """
    content: dict
    weights: Weights
    layout: str
    heads: int = 3
    rule: str = 'dino'


def behind(prefix: str, weights: Weights) -> Weights:
    return {prefix + name: tensor for name, tensor in weights.items()}


def head(prefix: str = 'head.') -> Weights:
    return {f'{prefix}mlp.0.weight': torch.ones(4, DIM), f'{prefix}last_layer.weight_g': torch.ones(8, 1)}


def pair(teacher: Weights, student: Weights | None = None, **extra) -> dict:
    """A full checkpoint of DINO and its heirs, with optimizer state and arguments."""
    student = vit_weights(seed=1) if student is None else student
    return dict(
        student={**behind('module.backbone.', student), **head('module.head.')},
        teacher={**behind('backbone.', teacher), **head()},
        optimizer=dict(state={0: dict(exp_avg=torch.ones(3))}, param_groups=[dict(lr=0.1)]), epoch=3,
        args=argparse.Namespace(arch='vit_small'), dino_loss=dict(center=torch.ones(1, 8)), **extra)


def dino() -> Release:
    return Release(pair(vit_weights()), vit_weights(), 'dino')


def dino_bare() -> Release:
    return Release(vit_weights(), vit_weights(), 'dino')


def ibot() -> Release:
    student = dict(vit_weights(seed=1), masked_embed=torch.ones(1, DIM))
    return Release(pair(vit_weights(), student), vit_weights(), 'ibot')


def ibot_bare() -> Release:
    weights = dict(vit_weights(), masked_embed=torch.ones(1, DIM))
    return Release(dict(state_dict=weights), weights, 'ibot')


def selfpatch() -> Release:
    weights = vit_weights(cls=False, norm=False)
    content = pair(weights, vit_weights(cls=False, norm=False, seed=1))
    content['teacher']['head.cls_token'] = torch.ones(1, 1, DIM)
    return Release(content, weights, 'selfpatch')


def selfpatch_bare() -> Release:
    weights = vit_weights(cls=False, norm=False)
    return Release(weights, weights, 'selfpatch')


def pqcl() -> Release:
    weights = dict(vit_weights(positions='mae'), masked_embed=torch.ones(1, DIM))
    block = {name.removeprefix('blocks.0.'): tensor for name, tensor in weights.items() if name.startswith('blocks.0.')}
    unused = {'norm2.weight': torch.ones(DIM), 'norm2.bias': torch.ones(DIM), **behind('query_block.', block)}
    return Release(pair({**weights, **unused}), weights, 'pqcl')


def bam() -> Release:
    weights = vit_weights(positions='moco')
    content = dict(model={**behind('module.backbone.', weights), **head('module.proj_head.')}, epoch=1)
    return Release(content, weights, 'bam', 12, 'antialias')


def bam_with_teacher() -> Release:
    weights = vit_weights(positions='moco')
    content = dict(model={**behind('student.module.backbone.', vit_weights(positions='moco', seed=1)),
                          **behind('teacher.backbone.', weights), **head('student.module.proj_head.')})
    return Release(content, weights, 'bam', 12, 'antialias')


def mocov3() -> Release:
    weights = vit_weights(positions='moco')
    content = dict(arch='vit_small', state_dict={
        **behind('module.base_encoder.', weights), 'module.base_encoder.head.0.weight': torch.ones(4, DIM),
        **behind('module.momentum_encoder.', vit_weights(positions='moco', seed=1)), **head('module.predictor.')})
    return Release(content, weights, 'mocov3', 12, 'size')


def mae() -> Release:
    weights = vit_weights(positions='mae')
    decoder = {'mask_token': torch.ones(1, 1, 8), 'decoder_embed.weight': torch.ones(8, DIM),
               'decoder_pos_embed': fixed_table(8, GRID, 'mae'), 'decoder_blocks.0.norm1.weight': torch.ones(8)}
    return Release(dict(model={**weights, **decoder}, epoch=1), weights, 'mae', 3, 'size')


def mae_bare() -> Release:
    weights = vit_weights(positions='mae')
    return Release(dict(model=weights), weights, 'mae', 3, 'size')


def _beit_weights(shared: bool) -> Weights:
    weights = vit_weights(positions='none')
    tables = dict(rel_pos_bias=1) if shared else {f'blocks.{i}.attn': i for i in range(DEPTH)}
    for owner, seed in tables.items():
        generator = torch.Generator().manual_seed(seed)
        weights[f'{owner}.relative_position_bias_table'] = torch.randn((2 * GRID - 1)**2 + 3, 3, generator=generator)
    for i in range(DEPTH):
        weights[f'blocks.{i}.gamma_1'] = torch.full((DIM, ), 0.5)
        weights[f'blocks.{i}.gamma_2'] = torch.full((DIM, ), 0.7)
        q, _, v = weights.pop(f'blocks.{i}.attn.qkv.bias').chunk(3)
        weights.update({f'blocks.{i}.attn.q_bias': q, f'blocks.{i}.attn.v_bias': v})
    return weights


def beit() -> Release:
    weights = _beit_weights(shared=True)
    extra = {'mask_token': torch.ones(1, 1, DIM), 'lm_head.weight': torch.ones(8, DIM),
             'rel_pos_bias.relative_position_index': torch.zeros(17, 17, dtype=torch.long)}
    return Release(dict(model={**weights, **extra}), weights, 'beit')


def beit_finetuned() -> Release:
    """Positions of its own in each block, a table of positions too, and a mean of the patches with its own norm."""
    weights = {name: tensor for name, tensor in _beit_weights(shared=False).items() if not name.startswith('norm.')}
    weights['pos_embed'] = vit_weights()['pos_embed']
    extra = {'fc_norm.weight': torch.ones(DIM), 'fc_norm.bias': torch.ones(DIM), 'head.weight': torch.ones(5, DIM),
             'blocks.0.attn.relative_position_index': torch.zeros(17, 17, dtype=torch.long)}
    return Release(dict(module={**weights, **extra}), weights, 'beit', 3, 'size')


def _dinov2_weights(registers: int) -> Weights:
    weights = vit_weights(registers=registers)
    for i in range(DEPTH):
        weights[f'blocks.{i}.ls1.gamma'] = torch.full((DIM, ), 0.5)
        weights[f'blocks.{i}.ls2.gamma'] = torch.full((DIM, ), 0.7)
    return weights


def dinov2() -> Release:
    weights = _dinov2_weights(0)
    return Release({**weights, 'mask_token': torch.ones(1, DIM)}, weights, 'dinov2')


def dinov2_registers() -> Release:
    weights = _dinov2_weights(4)
    return Release({**weights, 'mask_token': torch.ones(1, DIM)}, weights, 'dinov2', 3, 'antialias')


def dinov2_chunks() -> Release:
    """Blocks in chunks, one each here: chunk, then the number among all blocks."""
    weights = _dinov2_weights(0)
    content = {re.sub(r'^blocks\.(\d+)\.', r'blocks.\1.\1.', name): tensor for name, tensor in weights.items()}
    teacher = {**behind('backbone.', {**content, 'mask_token': torch.ones(1, DIM)}), **head('dino_head.')}
    return Release(dict(teacher=teacher), weights, 'dinov2')


def deit() -> Release:
    weights = vit_weights()
    classifier = {'head.weight': torch.ones(5, DIM), 'head.bias': torch.ones(5)}
    return Release(dict(model={**weights, **classifier}), weights, 'timm', 3, 'antialias')


RUN = """custom_imports = dict(imports=['mmdssl'])
model = dict(
    backbone=dict(
        type='VisionTransformer', arch={arch}, patch_size={patch}, img_size={size}, position='sincos',
        drop_path_rate=0.1, mask_token=True),
    teacher_temperature=(0.04, 0.07, 30),
    type='PQCL')
"""
DETECTOR = """model = dict(
    type='MaskRCNN',
    backbone=dict(type='mmdssl.VisionTransformer', arch={arch}, patch_size={patch}, img_size={size}, pyramid=True,
                  position_rule='dino'))
"""


def mmdssl_run() -> Release:
    """Of the runner, with the config as text; two heads and the fixed positions, which only the config tells."""
    weights = vit_weights(positions='none')
    text = RUN.format(arch=dict(embed_dim=DIM, depth=DEPTH, num_heads=2), patch=PATCH, size=GRID * PATCH)
    token = dict(mask_token=torch.ones(1, 1, DIM))
    state = {**behind('student.backbone.', {**vit_weights(positions='none', seed=1), **token}), **head('student.head.'),
             **behind('teacher.backbone.', {**weights, **token}), **head('teacher.head.'),
             'centers.cls.center': torch.ones(8)}
    content = dict(state_dict=state, meta=dict(cfg=text, epoch=3), message_hub=dict(log={}))
    return Release(content, weights, 'mmdssl', 2, 'size')


def mmdssl_detector() -> Release:
    """A detector that was trained with our backbone, pyramid and all."""
    weights = vit_weights()
    text = DETECTOR.format(arch=dict(embed_dim=DIM, depth=DEPTH, num_heads=2), patch=PATCH, size=GRID * PATCH)
    state = {**behind('backbone.', {**weights, 'pyramid.up.0.weight': torch.ones(3)}),
             'neck.fpn_convs.0.conv.weight': torch.ones(2)}
    return Release(dict(state_dict=state, meta=dict(cfg=text)), weights, 'mmdssl', 2, 'dino')


RELEASES = (dino, dino_bare, ibot, ibot_bare, selfpatch, selfpatch_bare, pqcl, bam, bam_with_teacher, mocov3, mae,
            mae_bare, beit, beit_finetuned, dinov2, dinov2_registers, dinov2_chunks, deit, mmdssl_run, mmdssl_detector)
