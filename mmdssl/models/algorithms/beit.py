"""BEiT: BERT pre-training of image transformers (Bao et al., ICLR 2022)."""
from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from timm.layers import trunc_normal_
from torch import Tensor, nn

from mmdssl.datasets.views import ViewGroup, Views
from mmdssl.errors import InputError
from mmdssl.models.algorithms.masked_modelling import MaskedModelling
from mmdssl.models.diagnostics import code_perplexity
from mmdssl.models.losses.masked import mean_over_masked
from mmdssl.models.tokenizers import DVAEEncoder
from mmdssl.registry import MODELS
from mmdssl.visualization.reconstruction import code_picture

TRAIN_IT = ('train it first with tools/train.py configs/pretrain/beit_tokenizer.py (or configs/small/beit_tokenizer.py for the small '
            'one)')


def is_missing(checkpoint: str) -> bool:
    return '://' not in checkpoint and not Path(checkpoint).is_file()


@MODELS.register_module()
class BEiT(MaskedModelling):
    """The backbone predicts which of a vocabulary of visual tokens stands at each masked patch.

    Views: ``global`` (usually one), with masks. The tokenizer sees the same crop, resized so that it has a token for each patch: 112 px
    for a view of 224. It is resized on the device from the view, after photometric changes; the authors resize the crop of the photo
    to both sizes.

    Args:
        backbone: Config of the backbone, with ``mask_token=True``; the paper's has ``relative_position='shared'``.
        tokenizer: Config of the tokenizer, see :mod:`mmdssl.models.tokenizers`; it is not trained.
        kwargs: Of :class:`mmdssl.models.algorithms.masked_modelling.MaskedModelling`.
    """

    def __init__(self, backbone: dict, tokenizer: dict, **kwargs):
        super().__init__(backbone, **kwargs)
        if self.backbone.mask_token is None:
            raise InputError('BEiT masks patches with a token: set model.backbone.mask_token=True')
        self.tokenizer = MODELS.build(tokenizer).requires_grad_(False)
        missing = [name for name in ('tokenize', 'num_codes', 'stride') if not hasattr(self.tokenizer, name)]
        if missing:
            raise InputError(f'{type(self.tokenizer).__name__} has no {missing[0]}, which a tokenizer needs: make model.tokenizer a '
                             'DVAEEncoder, a RandomProjectionTokenizer, or a module of your own as mmdssl.models.tokenizers describes')
        self.student['head'] = nn.Linear(self.backbone.embed_dim, self.tokenizer.num_codes)
        trunc_normal_(self.student.head.weight, std=.02, a=-.02, b=.02)
        nn.init.zeros_(self.student.head.bias)
        self._codes: Tensor | None = None

    def init_weights(self) -> None:
        init_cfg = getattr(self.tokenizer, 'init_cfg', None)
        checkpoint = (init_cfg or {}).get('checkpoint')
        if checkpoint and is_missing(checkpoint):
            raise InputError(f'{checkpoint}, the weights of the tokenizer, is not there: {TRAIN_IT}, or name another file with '
                             '--cfg-options model.tokenizer.init_cfg.checkpoint=FILE')
        if init_cfg is None and isinstance(self.tokenizer, DVAEEncoder):
            raise InputError(f'the tokenizer of BEiT is an untrained DVAEEncoder, whose codes mean nothing: {TRAIN_IT}, and give '
                             "model.tokenizer.init_cfg=dict(type='SSLPretrained', checkpoint=FILE), or use a RandomProjectionTokenizer")
        super().init_weights()

    def train(self, mode: bool = True) -> BEiT:
        super().train(mode)
        self.tokenizer.eval()
        return self

    def loss(self, views: Views) -> dict[str, Tensor]:
        """``loss_code``: cross-entropy at masked patches (Eq. 2); ``code_accuracy``, the share of them that are right."""
        crops = self.masked_crops(views)
        logits = self.student.head(self.masked_tokens(crops)).to(self.student.head.weight.dtype)
        self._codes = self.codes(crops)
        target = self._codes.flatten()[crops.mask_index]
        with torch.no_grad():
            accuracy = mean_over_masked((logits.argmax(-1) == target).to(logits.dtype))
        return dict(loss_code=mean_over_masked(F.cross_entropy(logits, target, reduction='none')), code_accuracy=accuracy)

    @torch.no_grad()
    def codes(self, crops: ViewGroup) -> Tensor:
        """The token of each patch, ``(V*B, h, w)``."""
        images, grid = self.pixels(crops.images.flatten(0, 1)), crops.masks.shape[2:]
        size = [side * self.tokenizer.stride for side in grid]
        with torch.autocast(images.device.type, enabled=False):
            if images.shape[-2:] != (*size, ):
                images = F.interpolate(images, size, mode='bicubic', antialias=True).clamp(0, 1)
            return self.tokenizer.tokenize(images)

    def diagnostics(self) -> dict[str, float]:
        """Also ``code_perplexity`` of the targets: 1 if the tokenizer says the same of every patch."""
        if self._codes is None:
            return {}
        return super().diagnostics() | dict(code_perplexity=code_perplexity(self._codes, self.tokenizer.num_codes))

    def answers(self, crops: ViewGroup, images: Tensor, hidden: Tensor) -> dict[str, Tensor]:
        """The tokens as colours, and those that are predicted in the masked patches beside the true ones elsewhere."""
        true = self.codes(crops)
        predicted = true.flatten().index_copy(0, crops.mask_index, self.student.head(self.masked_tokens(crops)).argmax(-1))
        return {name: code_picture(codes, self.backbone.patch_size) for name, codes in
                {'tokens': true, 'predicted tokens': predicted.view_as(true)}.items()}
