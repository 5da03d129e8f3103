"""What the engine knows of an algorithm."""
from __future__ import annotations

from abc import ABCMeta, abstractmethod

from mmengine.model import BaseModel
from torch import Tensor, nn

from mmdssl.datasets.views import Views
from mmdssl.engine.schedules import Progress
from mmdssl.errors import InputError
from mmdssl.evaluation.collapse import effective_rank


class Algorithm(BaseModel, metaclass=ABCMeta):
    """A self-supervised method: views in, named losses out.

    Attributes:
        progress: Where training stands; the engine sets it before every iteration, and schedules read it.
    """

    def __init__(self, data_preprocessor: dict | None = None, init_cfg: dict | None = None):
        super().__init__(data_preprocessor or dict(type='mmdssl.ViewsPreprocessor'), init_cfg)
        self.progress = Progress(0, 1, 0, 1)
        self._features: Tensor | None = None

    @property
    @abstractmethod
    def backbone(self) -> nn.Module:
        """The network that is exported and evaluated: the teacher's where there is one."""

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

    @staticmethod
    def require(views: Views, *groups: str) -> None:
        """Raise an :class:`InputError` that names the view groups the data pipeline should make and does not."""
        missing = [name for name in groups if name not in views]
        if missing:
            raise InputError(f'this method needs the view group(s) {", ".join(missing)}, the data makes {", ".join(views)}: '
                             'add them to train_dataloader.dataset.views')

    def parse_losses(self, losses: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        total = sum(value for name, value in losses.items() if 'loss' in name)
        return total, {'loss': total, **losses}
