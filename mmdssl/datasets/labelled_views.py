"""Views of labelled images."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

from PIL import Image

from mmdssl.datasets.base import ImageDataset
from mmdssl.datasets.packed import ImageFiles
from mmdssl.registry import DATASETS


@DATASETS.register_module()
class LabelledViews(ImageDataset):
    """Augmented views of the images of a labelled dataset, with their labels: what classifiers are trained on.

    Args:
        dataset: Config of the labelled dataset, such as :class:`mmdssl.datasets.LabelledFolder`, of which the images and their labels are
            used, and not how it crops. Where its items are not files it has ``read(index)``, which gives an image, or None, and its label.
        views: See :class:`mmdssl.datasets.base.ImageDataset`, as the rest.
        **kwargs: The same.

    Attributes:
        labelled: The labelled dataset.
        classes: Names of its classes.
        subset: What it uses of its folder, in words; None for all.
    """

    def __init__(self, dataset: dict, *, views: Mapping[str, dict | None], **kwargs):
        self.labelled = DATASETS.build(dataset)
        super().__init__(self.labelled.data_root, views=views, **kwargs)

    @property
    def classes(self) -> list[str]:
        return self.labelled.classes

    @property
    def subset(self) -> str | None:
        return getattr(self.labelled, 'subset', None)

    def load_data_list(self) -> Sequence[dict]:
        if isinstance(self.labelled.data_list, ImageFiles):
            return self.labelled.data_list
        return [dict(img_path=info.get('img_path', info.get('name')), label=info.get('label'))
                for info in map(self.labelled.get_data_info, range(len(self.labelled)))]

    def read(self, info: dict) -> Image.Image | None:
        if not hasattr(self.labelled, 'read'):
            return super().read(info)
        image, info['label'] = self.labelled.read(info['sample_idx'])
        return image
