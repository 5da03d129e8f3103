"""Any network of timm as a backbone, for pretraining and for mmdet and mmseg."""
from __future__ import annotations

import copy
import difflib
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Literal

import timm
import torch
from mmengine.model import BaseModule
from timm.layers import Attention, to_2tuple
from timm.models import metaformer
from torch import Tensor, nn

from mmdssl.arguments import NonEmpty, PositiveInt, Share
from mmdssl.errors import InputError
from mmdssl.registry import MODELS

# What is decided here: nothing is downloaded, images have three channels, and there is no classifier.
DECIDED = ('pretrained', 'checkpoint_path', 'pretrained_cfg', 'pretrained_cfg_overlay', 'in_chans', 'num_classes', 'features_only')

# By which of its arguments a network takes images of any size.
ANY_SIZE = dict(dynamic_img_size=True, dynamic_img_pad=True, strict_img_size=False)


def caformer(depths: Sequence[int] = (3, 12, 18, 3), dims: Sequence[int] = (96, 192, 384, 576), **kwargs) -> nn.Module:
    """timm's CAFormer with depths and widths of one's own, which its named ones fix; the default is CAFormer-M36.

    A stage as wide as the one before it does not downsample; in the last two, a head is 32 wide.
    """
    norms = [metaformer.LayerNorm2dNoBias] * 2 + [metaformer.LayerNormNoBias] * 2
    mixers = [metaformer.SepConv] * 2 + [metaformer.Attention] * 2
    return metaformer.MetaFormer(depths=depths, dims=dims, token_mixers=mixers, norm_layers=norms, **kwargs)


@MODELS.register_module()
class TimmBackbone(BaseModule):
    """A network of timm with random weights; ``init_cfg`` loads others, and nothing is downloaded.

    Its parameters have timm's names behind ``network.``. Images may have any size where timm's network allows it.

    Args:
        name: timm's name, such as ``'resnet50'`` or ``'caformer_m36'``; or ``'caformer'``, see :func:`caformer`.
        model_args: More arguments for timm, such as ``dict(img_size=64)`` or ``dict(channels=(32, 64, 128, 256))``.
        drop_path_rate: Stochastic depth of the last block.
        stem_stride: Of a ResNet, for small images: 2 for a stem without pooling, 1 for a convolution of stride 1 besides; None
            for timm's, which is 4.
        out_indices: Which of timm's feature maps :meth:`forward` returns; what they do not need is not trained. None for
            pretraining: the last map, and all that :meth:`features` needs is trained.
        frozen: Train nothing; stay in eval mode.
        stem_kernel: Side of the kernel of a ResNet's stem, 3 for images as small as CIFAR's; None for timm's, which is 7.
        branches: Last stages of a ResNet, side by side; features and the last map are those of all of them (LooC++).
        init_cfg: MMEngine's; ``dict(type='SSLPretrained', checkpoint=...)`` loads published weights.

    Attributes:
        embed_dim: Width of :meth:`features`.
        channels: Of each map, where ``out_indices`` is given.
        strides: The same, in pixels.
        patch_size: Where images are cut into patches that do not overlap: the side of a patch, of which a view must have a whole
            number.

    Raises:
        InputError: timm has no such network, it takes other arguments, or it has no feature maps.
    """

    def __init__(self, name: str, model_args: dict | None = None, drop_path_rate: Share = 0.,
                 stem_stride: Literal[1, 2, 4] | None = None,
                 out_indices: Annotated[Sequence[int], NonEmpty] | None = None, frozen: bool = False,
                 stem_kernel: PositiveInt | None = None, branches: PositiveInt = 1, init_cfg: dict | None = None):
        super().__init__(init_cfg)
        self.name = name
        self.frozen = frozen
        args = dict(model_args or {}, **(dict(drop_path_rate=drop_path_rate) if drop_path_rate else {}))
        self.network = _build(name, args)
        self.network.is_init = True  # timm's networks initialise themselves, and MMEngine would do it again after loading
        self.num_maps = len(self.network.feature_info) if hasattr(self.network, 'forward_intermediates') else 0
        self.out_indices = None if out_indices is None else self._indices(out_indices)
        if stem_stride is not None:
            _set_stem_stride(self.network, name, stem_stride)
        if stem_kernel is not None:
            _set_stem_kernel(self.network, name, stem_kernel)
        if branches != 1:
            _set_branches(self.network, name, branches)
        embed = getattr(self.network, 'patch_embed', None)
        cut = getattr(embed, 'proj', None)
        if isinstance(cut, nn.Conv2d) and cut.kernel_size == cut.stride and not hasattr(embed, 'backbone'):
            self.patch_size = cut.stride[0]
        default = getattr(self.network, 'pretrained_cfg', {}).get('input_size', (3, 224, 224))[-1]
        self._measure(to_2tuple(args.get('img_size', default)))

    def _indices(self, wanted: Sequence[int]) -> list[int]:
        known = range(-self.num_maps, self.num_maps)
        if not all(i in known for i in wanted):
            raise InputError(f"timm's {self.name} has {self.num_maps} feature maps, and out_indices={wanted} does not list numbers of "
                             f'some: they count from 0')
        found = sorted(i % self.num_maps for i in wanted)
        if len(set(found)) < len(found):
            raise InputError(f'out_indices={wanted} of {self.name} names a feature map twice')
        return found

    def _measure(self, size: tuple[int, int]) -> None:
        """Learn from a copy without data what the network gives; what that does not need is not trained.

        A distributed run would wait for the gradient of an unused parameter.
        """
        sketch, images = copy.deepcopy(self).to('meta').eval(), torch.empty(1, 3, *size, device='meta')
        with torch.enable_grad():
            features = sketch.features(images)
            used = (features, ) if self.out_indices is None else sketch(images)
            sum(output.sum() for output in used).backward()
        self.embed_dim = features.shape[1]
        if self.out_indices is not None:
            self.channels = tuple(output.shape[1] for output in used)
            self.strides = tuple(round(size[0] / output.shape[2]) for output in used)
        for parameter, drawn in zip(self.parameters(), sketch.parameters(), strict=True):
            parameter.requires_grad_(drawn.grad is not None and not self.frozen)

    def train(self, mode: bool = True) -> TimmBackbone:
        return super().train(mode and not self.frozen)

    def features(self, images: Tensor) -> Tensor:
        """timm's pooled features of images ``(B, 3, H, W)``, those in front of its classifier, ``(B, D)``."""
        with self._explained(images):
            return self.network(images)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Feature maps ``(B, C, h, w)`` of ``out_indices``, without the final norm."""
        return self._maps(images, [-1] if self.out_indices is None else self.out_indices)

    def features_and_map(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """:meth:`features` and the last feature map, ``(B, map_dim, h, w)``, of one forward pass."""
        self._need_maps()
        with self._explained(images):
            last, maps = self.network.forward_intermediates(images, [-1])
            return self.network.forward_head(last), maps[-1]

    @property
    def num_blocks(self) -> int:
        """Feature maps."""
        self._need_maps()
        return self.num_maps

    @property
    def pool(self) -> str:
        """What :meth:`features` are made of, ``'cls'`` or ``'mean'``."""
        return 'cls' if getattr(self.network, 'global_pool', None) == 'token' else 'mean'

    def intermediates(self, images: Tensor, blocks: Sequence[int], facet: str = 'token',
                      norm: bool = True) -> list[tuple[Tensor | None, Tensor]]:
        """Class token ``(B, D)``, None where there is none, and positions ``(B, h w, D)`` of some feature maps.

        Args:
            images: ``(B, 3, H, W)``.
            blocks: Numbers of the maps, from 0, in their order.
            facet: ``'token'``: the queries, keys and values of timm's networks cannot be read.
            norm: Apply the final norm, where timm's network can apply it to all of its maps.
        """
        if facet != 'token':
            raise InputError(f"the {facet} of attention cannot be read from timm's {self.name}: set facet='token', or use a "
                             'VisionTransformer')
        self._need_maps()
        prefix = dict(return_prefix_tokens=True) if getattr(self.network, 'has_class_token', False) else {}
        with self._explained(images):
            found = self.network.forward_intermediates(images, list(blocks), norm=norm, stop_early=True, intermediates_only=True, **prefix)
        maps, classes = zip(*((each[0], each[1][:, 0]) if prefix else (each, None) for each in found))
        return [(token, grid.flatten(2).transpose(1, 2)) for token, grid in zip(classes, maps)]

    @property
    def map_dim(self) -> int:
        """Channels of the last feature map."""
        self._need_maps()
        return self.network.feature_info[-1]['num_chs']

    def _maps(self, images: Tensor, indices: list[int]) -> tuple[Tensor, ...]:
        self._need_maps()
        with self._explained(images):
            return tuple(self.network.forward_intermediates(images, indices, stop_early=True, intermediates_only=True))

    def _need_maps(self) -> None:
        if not self.num_maps:
            raise InputError(f"timm's {self.name} has no feature maps: it can be pretrained with a method that reads pooled features, but "
                             'it does not say where it looks, and serves no dense task')

    @contextmanager
    def _explained(self, images: Tensor) -> Iterator[None]:
        try:
            yield
        except AssertionError as error:  # timm's way to refuse input
            height, width = images.shape[-2:]
            raise InputError(f"timm's {self.name} cannot take images of {height} x {width} px: {error}") from None

    @torch.no_grad()
    def heat_map(self, images: Tensor) -> Tensor:
        """Where the network looks, ``(B, h, w)``, not normalised.

        That is the attention in the last block, summed over heads: of the class token, or the average of all patches where there
        is none (CAFormer). For a network without global attention, or with one that is not timm's usual, it is the sum over the
        channels of the last map.
        """
        inputs: list[Tensor] = []
        attention = [module for module in self.network.modules() if isinstance(module, (Attention, metaformer.Attention))]
        hooks = [module.register_forward_pre_hook(lambda _, args: inputs.append(args[0])) for module in attention[-1:]]
        try:
            with torch.compiler.set_stance('force_eager'):  # compiled code does not see the hooks
                last = self._maps(images, [-1])[0]
        finally:
            for hook in hooks:
                hook.remove()
        grid, num_prefix = last.shape[-2:], getattr(self.network, 'num_prefix_tokens', 0)
        if not inputs or inputs[0].shape[:2] != (len(images), num_prefix + grid.numel()):
            return last.sum(1)
        queries = slice(0, 1) if getattr(self.network, 'has_class_token', False) else slice(num_prefix, None)
        looks = attend(attention[-1], inputs[0], queries).mean(2).sum(1)
        return looks[:, num_prefix:].unflatten(1, grid)


def attend(attention: nn.Module, x: Tensor, queries: slice) -> Tensor:
    """Attention weights ``(B, heads, queries, L)`` of one of timm's modules for tokens ``(B, L, D)``."""
    q, k, _ = attention.qkv(x).unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    if hasattr(attention, 'q_norm'):
        q, k = attention.q_norm(q), attention.k_norm(k)
    return (q[:, :, queries] @ k.transpose(-2, -1) * attention.scale).softmax(-1)


def _build(name: str, args: dict) -> nn.Module:
    """The network, for images of any size where it can, without a classifier."""
    if name != caformer.__name__ and not timm.is_model(str(name)):
        close = difflib.get_close_matches(str(name), [*timm.list_models(), caformer.__name__], n=3)
        raise InputError(f"timm {timm.__version__} has no network '{name}'"
                         + (f': did you mean {" or ".join(close)}?' if close else ': timm.list_models() tells those it has'))
    decided = [key for key in DECIDED if key in args]
    if decided:
        raise InputError(f'model_args of {name} cannot have {", ".join(decided)}: nothing is downloaded (load weights with init_cfg), '
                         'images have three channels, and there is no classifier')
    create = caformer if name == caformer.__name__ else partial(timm.create_model, name)
    try:
        network = create(num_classes=0, **args)
        known = inspect.signature(type(network).__init__).parameters
        any_size = {key: value for key, value in ANY_SIZE.items() if key in known}
        return create(num_classes=0, **{**any_size, **args}) if any_size else network
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise InputError(f"timm's {name} cannot be built with {args}: {error or type(error).__name__}") from error


def _set_stem_stride(network: nn.Module, name: str, stride: int) -> None:
    conv, pool = (getattr(network, part, None) for part in ('conv1', 'maxpool'))
    if not isinstance(conv, nn.Conv2d) or pool is None:
        raise InputError(f'stem_stride={stride} of {name}: leave it out, it is for a ResNet whose stem is one convolution')
    if stride < 4:
        network.maxpool = nn.Identity()
    if stride == 1:
        conv.stride = (1, 1)


def _set_stem_kernel(network: nn.Module, name: str, size: int) -> None:
    conv = getattr(network, 'conv1', None)
    if not isinstance(conv, nn.Conv2d) or size < 1 or size % 2 == 0:
        raise InputError(f'stem_kernel={size} of {name}: it is odd, and the network a ResNet whose stem is one convolution')
    network.conv1 = nn.Conv2d(3, conv.out_channels, size, conv.stride, size // 2, bias=False)
    nn.init.kaiming_normal_(network.conv1.weight, mode='fan_out', nonlinearity='relu')


class Branches(nn.ModuleList):
    """Networks that read the same maps, and whose own maps ``(B, C, h, w)`` become those ``(B, n C, h, w)`` of one."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self], dim=1)


def _set_branches(network: nn.Module, name: str, number: int) -> None:
    last = getattr(network, 'layer4', None)
    if last is None or number < 1:
        raise InputError(f'branches={number} of {name}: it is 1 or more, and the network a ResNet')
    network.layer4 = Branches(copy.deepcopy(last) for _ in range(number))
    network.feature_info[-1]['num_chs'] *= number
    network.init_weights()  # each branch begins with weights of its own
