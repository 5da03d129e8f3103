"""Kinds of checkpoints, one class each: how it is recognised, how its names become ours, and what it implies beyond its tensors.

A new one is a class with an entry in :data:`LAYOUTS`.
"""
from __future__ import annotations

import torch
from torch import Tensor

from mmdssl.checkpoint.architecture import check_config, is_our_vit, resnet_config
from mmdssl.checkpoint.huggingface import HuggingFace, from_huggingface
from mmdssl.checkpoint.layout import NO_PART, Layout, Pretrained, TransformerLayout, Written
from mmdssl.checkpoint.networks import Network
from mmdssl.checkpoint.of_timm import OfTimm, Timm
from mmdssl.errors import InputError


class ResNet(Layout):
    """torchvision's names, whoever trained it."""
    name = 'resnet'

    def fits(self, net: Network) -> bool:
        return 'layer1.0.conv1.weight' in net.state

    def config(self, net: Network, state: dict[str, Tensor]) -> dict:
        return resnet_config(state, net.stored)


class OwnNetwork(Layout):
    """A network of ours that is no vision transformer of ours, in a file with its config."""
    name = 'mmdssl'
    ignored = ()

    def fits(self, net: Network) -> bool:
        return net.own is not None and not is_our_vit(net.own)

    def check(self, net: Network) -> None:
        """The network itself tells what its weights should be."""

    def config(self, net: Network, state: dict[str, Tensor]) -> dict:
        return net.own


class Own(TransformerLayout):
    """Our vision transformer, in a file with its config, in whoever's names."""
    name = 'mmdssl'
    ignored = ()

    def fits(self, net: Network) -> bool:
        return net.own is not None

    def rename(self, name: str) -> str:
        return super().rename(from_huggingface(name))

    def complete(self, net: Network, state: dict[str, Tensor]) -> None:
        super().complete(net, state)
        if net.own is not None and not net.own.get('mask_token'):
            state.pop('mask_token', None)  # which some of Hugging Face's models have all the same

    def config(self, net: Network, state: dict[str, Tensor]) -> dict:
        if net.own is None:  # somebody said that it is ours
            return super().config(net, state, position=None)
        check_config(net.path, net.own, state)
        return net.own

    def written(self, given: Pretrained) -> Written:
        return Written(dict(given.state), how='from mmdssl.checkpoint import load_backbone\nmodel = load_backbone({file})')


class DINOv3(TransformerLayout):
    """The authors' names, or those of timm's."""
    name = 'dinov3'
    norm_eps = 1e-5
    ignored = (*NO_PART, (r'local_cls_norm\.', 'only used to train on local crops'))

    def fits(self, net: Network) -> bool:
        of_timm = net.has('^reg_token$') and net.has('gamma(_1)?$') and not net.has('pos')
        return of_timm or net.has(r'^(storage_tokens|rope_embed\.periods)$')

    def complete(self, net: Network, state: dict[str, Tensor]) -> None:
        """Of the biases, the part of the keys is masked; the largest network has none, nor has timm's where they became zero."""
        super().complete(net, state)
        for name in [name for name in state if name.endswith('.qkv.bias_mask')]:
            mask = state.pop(name)
            state[name.removesuffix('_mask')] = state[name.removesuffix('_mask')] * mask
        weights = [name for name in state if name.endswith('.qkv.weight')]
        if not any(name.endswith('.qkv.bias') for name in state):
            state.update({name.replace('weight', 'bias'): torch.zeros_like(state[name][:, 0]) for name in weights})

    def config(self, net: Network, state: dict[str, Tensor]) -> dict:
        return super().config(net, state, position='rotary')

    def num_heads(self, net: Network, width: int) -> int | None:
        periods = net.state.get('rope_embed.periods')
        head_dim = 4 * len(periods) if periods is not None else 128 if width == 4096 else 64
        return width // head_dim if width % head_dim == 0 else None


class BEiT(TransformerLayout):
    name = 'beit'

    def fits(self, net: Network) -> bool:
        return net.has(r'attn\.q_bias$|relative_position_bias_table$')

    def complete(self, net: Network, state: dict[str, Tensor]) -> None:
        super().complete(net, state)
        if 'blocks.0.mlp.fc1_g.weight' in state:
            raise InputError(f'{net.path} is not supported: the rotary positions of EVA-02, which are other ones than ours')


class DINOv2(TransformerLayout):
    name = 'dinov2'

    def fits(self, net: Network) -> bool:
        return net.has(r'^register_tokens$|^blocks\.\d+\.\d+\.') or net.has(r'ls1\.gamma$') and 'mask_token' in net.state

    def config(self, net: Network, state: dict[str, Tensor]) -> dict:
        return super().config(net, state, position_rule='antialias' if 'reg_token' in state else 'dino')  # changed with the registers


class DINO(TransformerLayout):
    name = 'dino'
    position_rule = 'dino'
    remainder = 'cut'

    def fits(self, net: Network) -> bool:
        return 'patch_embed.proj.weight' in net.state


class PQCL(DINO):
    name = 'pqcl'
    ignored = (*NO_PART, (r'(query_block|norm2)\.', "not used by its own forward (authors' release of PQCL)"))

    def fits(self, net: Network) -> bool:
        return net.has(r'^query_block\.') or net.has('^masked_embed$') and net.table_is_sincos(True)


class IBOT(DINO):
    name = 'ibot'

    def fits(self, net: Network) -> bool:
        return any(name.endswith('masked_embed') for name in [*net.state, *net.others])


class SelfPatch(DINO):
    name = 'selfpatch'

    def fits(self, net: Network) -> bool:
        return not net.has(r'^(cls_token|norm\.|fc_norm\.|head\.)')


class MoCoV3(TransformerLayout):
    """ViT-S has 12 heads, like ViT-B. By its fixed positions alone, BAM's backbone is taken for it."""
    name = 'mocov3'

    def fits(self, net: Network) -> bool:
        return bool({'base_encoder', 'momentum_encoder'} & set(net.prefix.split('.'))) or net.table_is_sincos(False)

    def num_heads(self, net: Network, width: int) -> int | None:
        return 12 if width < 768 and width % 12 == 0 else super().num_heads(net, width)


class BAM(MoCoV3):
    name = 'bam'
    position_rule = 'antialias'

    def fits(self, net: Network) -> bool:
        return any('.proj_head.' in name for name in net.others)


class MAE(TransformerLayout):
    name = 'mae'
    ignored = (*NO_PART, ('decoder_', 'decoder of MAE'), ('mask_token$', 'belongs to the decoder'))

    def fits(self, net: Network) -> bool:
        return net.has('^decoder_') or net.table_is_sincos(True)


# Asked in turn. Where names do not tell two apart, values do (the fixed positions of MAE and of MoCo v3), or the kind of file.
LAYOUTS: tuple[Layout, ...] = (
    OwnNetwork(), ResNet(), Own(), OfTimm(), HuggingFace(), DINOv3(), BEiT(), DINOv2(), PQCL(), IBOT(), SelfPatch(), BAM(), MoCoV3(), MAE(),
    Timm(), DINO())


def recognise(net: Network, forced: str | None = None) -> Layout:
    """The layout of a network, or the one named ``forced``.

    Raises:
        InputError: There is no layout of that name.
    """
    known = {layout.name: layout for layout in LAYOUTS}
    if forced is not None and forced not in known:
        raise InputError(f'unknown layout {forced!r}: use one of {", ".join(known)}')
    return known[forced] if forced else next(layout for layout in LAYOUTS if layout.fits(net))
