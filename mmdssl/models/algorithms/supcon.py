"""SupCon: supervised contrastive learning (Khosla et al., NeurIPS 2020)."""
from __future__ import annotations

from torch import Tensor

from mmdssl.datasets.views import Views
from mmdssl.errors import InputError
from mmdssl.models.algorithms.simclr import SimCLR, similarity
from mmdssl.models.losses.contrastive import view_contrast
from mmdssl.registry import MODELS

ANCHORS = dict(all=None, one=1)


@MODELS.register_module()
class SupCon(SimCLR):
    """Each view finds all views of the images of its class among those of the batch. Labels come with the views.

    Views: ``global`` (two), with labels.

    Args:
        backbone: Config of the backbone.
        projector: Arguments of the projector.
        temperature: tau.
        base_temperature: The loss is multiplied by tau over this, as in the authors' code; None for not at all.
        inside: L_in, whose logarithm is outside of the mean over positives, instead of the better L_out.
        contrast_mode: ``'all'`` views look for their positives, or only the first ``'one'`` of each image.
        kwargs: Of :class:`mmdssl.models.algorithms.joint_embedding.JointEmbedding`.
    """

    def __init__(self, backbone: dict, projector: dict, temperature: float = 0.1, base_temperature: float | None = 0.07,
                 inside: bool = False, contrast_mode: str = 'all', **kwargs):
        if contrast_mode not in ANCHORS:
            raise InputError(f'contrast_mode of SupCon is one of {", ".join(ANCHORS)}, got {contrast_mode!r}')
        super().__init__(backbone, projector, temperature, **kwargs)
        self.scale = 1. if base_temperature is None else temperature / base_temperature
        self.inside = inside
        self.contrast_mode = contrast_mode

    def loss(self, views: Views) -> dict[str, Tensor]:
        """``loss_contrast``: L_out (Eq. 2), or L_in (Eq. 3)."""
        if views.labels is None:
            raise InputError('SupCon reads the class of each image, which the data does not tell: train on an ImageFolder with one '
                             'folder of images per class')
        latents = self.latents(views)
        loss = view_contrast(latents, views.labels, self.temperature, self.inside, ANCHORS[self.contrast_mode])
        return dict(loss_contrast=self.scale * loss, positive_similarity=similarity(latents))
