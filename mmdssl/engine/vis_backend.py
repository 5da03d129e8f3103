"""Scalars as JSON lines."""
from __future__ import annotations

from mmengine.visualization import LocalVisBackend

from mmdssl.registry import VISBACKENDS


@VISBACKENDS.register_module()
class ScalarsVisBackend(LocalVisBackend):
    """MMEngine's files ``vis_data/scalars.json``, a line per line of the log, and ``vis_data/config.py``, without its images.

    Of those a long run would leave thousands: TensorBoard has them.
    """

    def add_image(self, *args, **kwargs) -> None:
        return
