"""Names of Hugging Face's vision transformers (ViT, ViTMAE, DINOv2, BEiT), in both directions."""
from __future__ import annotations

import re

# By the name of a family, the model that is a backbone and nothing else.
FAMILIES = {
    'vit': 'ViTModel',
    'dinov2': 'Dinov2Model',
    'dinov2_with_registers': 'Dinov2WithRegistersModel',
    'beit': 'BeitModel',
}

_OUTSIDE = {
    'cls_token': 'embeddings.cls_token',
    'mask_token': 'embeddings.mask_token',
    'reg_token': 'embeddings.register_tokens',
    'pos_embed': 'embeddings.position_embeddings',
    'patch_embed.proj.': 'embeddings.patch_embeddings.projection.',
    'norm.': 'layernorm.',
}
_ATTENTION = {
    'attn.q.': 'attention.attention.query.',
    'attn.k.': 'attention.attention.key.',
    'attn.v.': 'attention.attention.value.',
    'attn.proj.': 'attention.output.dense.',
    'attn.relative_position_bias_table': 'attention.attention.relative_position_bias.relative_position_bias_table',
}
_VIT = {
    'norm1.': 'layernorm_before.',
    'norm2.': 'layernorm_after.',
    'mlp.fc1.': 'intermediate.dense.',
    'mlp.fc2.': 'output.dense.',
    'ls1.gamma': 'lambda_1',
    'ls2.gamma': 'lambda_2',
}
_DINOV2 = {'ls1.gamma': 'layer_scale1.lambda1', 'ls2.gamma': 'layer_scale2.lambda1'}

# What transformers 5 calls the same things in memory; its files keep the older names.
_IN_MEMORY = (
    (r'^layers\.', 'encoder.layer.'),
    (r'attention\.q_proj\.', 'attention.attention.query.'),
    (r'attention\.k_proj\.', 'attention.attention.key.'),
    (r'attention\.v_proj\.', 'attention.attention.value.'),
    (r'attention\.o_proj\.', 'attention.output.dense.'),
    (r'^(encoder\.layer\.\d+\.)relative_position_bias\.', r'\1attention.attention.relative_position_bias.'),
    (r'^shared_position_bias\.', 'encoder.relative_position_bias.'),
)


def from_huggingface(name: str) -> str:
    """timm's name of a parameter of any of the families; names without one come back as they are."""
    for pattern, replacement in _IN_MEMORY:
        name = re.sub(pattern, replacement, name)
    name = name.replace('encoder.relative_position_bias.', 'rel_pos_bias.')
    block = re.match(r'encoder\.layer\.(\d+)\.', name)
    if not block:
        return _renamed(name, {theirs: ours for ours, theirs in _OUTSIDE.items()})
    theirs = {theirs: ours for names in (_ATTENTION, _VIT, _DINOV2) for ours, theirs in names.items()}
    return f'blocks.{block[1]}.' + _renamed(name[block.end():], theirs)


def to_huggingface(name: str, family: str) -> str:
    """The families' name of a parameter with timm's name and with separate ``attn.q``, ``attn.k``, ``attn.v``."""
    block = re.match(r'blocks\.(\d+)\.', name)
    if not block:
        return _renamed(name, _OUTSIDE)
    names = _DINOV2 if family.startswith('dinov2') else _VIT
    return f'encoder.layer.{block[1]}.' + _renamed(name[block.end():], {**_ATTENTION, **names})


def _renamed(name: str, names: dict[str, str]) -> str:
    return next((new + name[len(old):] for old, new in names.items() if name.startswith(old)), name)
