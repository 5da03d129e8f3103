"""What the engine knows of an algorithm."""
from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Sequence

from mmengine.model import BaseModel
from torch import Tensor, nn

from mmdssl.datasets.views import Views
from mmdssl.errors import InputError
from mmdssl.models.diagnostics import effective_rank
from mmdssl.schedules import Progress


class Algorithm(BaseModel, metaclass=ABCMeta):
    """A self-supervised method: views in, named losses out.

    Attributes:
        backbone: The network that is exported and evaluated: the teacher's where there is one.
        progress: Where training stands; the engine sets it before every iteration, and schedules read it.
        writes_weights: Whether the loss changes trained weights itself.
    """
    backbone: nn.Module
    writes_weights = False

    def __init__(self, data_preprocessor: dict | None = None, init_cfg: dict | None = None):
        super().__init__(data_preprocessor or dict(type='mmdssl.ViewsPreprocessor'), init_cfg)
        self.progress = Progress(0, 1, 0, 1)
        self._features: Tensor | None = None

    @abstractmethod
    def loss(self, views: Views) -> dict[str, Tensor]:
        """Scalars by name. What is minimised is the sum of those whose name contains ``loss``; the rest is only logged."""

    def forward(self, views: Views, mode: str = 'loss') -> dict[str, Tensor]:
        if mode != 'loss':
            raise ValueError(f"an algorithm only knows mode='loss', got {mode!r}; call its backbone for features")
        return self.loss(views)

    def set_progress(self, progress: Progress) -> None:
        self.progress = progress

    def after_step(self) -> None:
        """Called once after each optimizer step, for instance to move a teacher."""

    def frozen_parameters(self) -> list[nn.Parameter]:
        """Parameters whose gradients the optimizer drops in this iteration."""
        return []

    def diagnostics(self) -> dict[str, float]:
        """Health of the features of the last batch. Waits for the device, so it is called only now and then."""
        if self._features is None:
            return {}
        return dict(effective_rank=effective_rank(self._features))

    def remember_features(self, features: Tensor) -> None:
        """Keep ``(n, D)`` image features of this batch for :meth:`diagnostics`."""
        self._features = features.detach()

    def _dump_init_info(self) -> None:
        """Silence MMEngine's three lines per parameter: our networks initialise themselves as they are built."""

    def check(self, views: Views, required: Sequence[str], optional: Sequence[str] = ()) -> None:
        """Check that the data pipeline makes the view groups that the loss reads, no others, and of whole patches.

        Raises:
            InputError: Naming what does not fit.
        """
        missing = [name for name in required if name not in views]
        unread = [name for name in views if name not in (*required, *optional)]
        if missing or unread:
            raise InputError(f'{type(self).__name__} reads the view groups {", ".join([*required, *optional])}, the data makes '
                             f'{", ".join(views)}: change train_dataloader.dataset.views')
        waiting = [name for name, group in views.items() if group.photometric is not None]
        if waiting:
            raise InputError(f'{type(self.data_preprocessor).__name__} leaves the colours of the view groups {", ".join(waiting)} as they '
                             'were before photometric augmentation: set train_dataloader.dataset.photometric_device=False, or let it call '
                             'mmdssl.datasets.preprocessor.adjusted')
        patch_size = getattr(self.backbone, 'patch_size', 1)
        for name, group in views.items():
            if group.images.shape[-1] % patch_size:
                raise InputError(f'{name} views of {group.images.shape[-1]} px are not whole patches of {patch_size} px: change '
                                 'their size in train_dataloader.dataset.views')

    def parse_losses(self, losses: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        total = sum(value for name, value in losses.items() if 'loss' in name)
        return total, {'loss': total, **losses}
