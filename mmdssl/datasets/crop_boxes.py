"""Where the object of an image is, for ContrastiveCrop."""
from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import Dataset
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from mmdssl.datasets.base import ImageDataset
from mmdssl.datasets.transforms.crops import FULL_BOX


class WholeImages(Dataset):
    """The images that views are cropped from, whole, to be looked at by a network.

    An item is ``dict(image=(3, size, size) uint8 RGB, readable=bool, index=int)``; what cannot be decoded is black.

    Args:
        dataset: The source of views.
        size: Side that images are resized to, whatever their shape (bicubic, antialiased).
    """

    def __init__(self, dataset: ImageDataset, size: int):
        self.dataset = dataset
        self.size = size

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict:
        image = self.dataset.whole_image(index)
        if image is None:
            return dict(image=torch.zeros(3, self.size, self.size, dtype=torch.uint8), readable=False, index=index)
        image = F.resize(image, [self.size, self.size], InterpolationMode.BICUBIC)
        return dict(image=F.pil_to_tensor(image), readable=True, index=index)


def boxes_of_heat_maps(maps: Tensor, size: int, threshold: float = 0.1) -> Tensor:
    """The box around all of an image that a network looks at (ContrastiveCrop, CVPR 2022).

    Args:
        maps: ``(B, h, w)``, how much the network looks at each place, on any scale.
        size: Side of the images in pixels, to which the maps are enlarged; it sets how finely boxes are measured.
        threshold: What counts as looked at, in [0, 1] from the least to the most of the image.

    Returns:
        ``(B, 4)`` float32 ``(h0, w0, h1, w1)`` in [0, 1]: the first and last row and column with a value above the
        threshold, over ``size``. The full box where there is none, as in a constant map.
    """
    maps = maps.float()
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    maps = (maps - low) / (high - low + 1e-5)
    seen = interpolate(maps[:, None], (size, size), mode='bilinear')[:, 0] > threshold
    rows, columns = seen.any(2).int(), seen.any(1).int()
    top, left = rows.argmax(1), columns.argmax(1)
    bottom, right = (size - 1 - side.flip(1).argmax(1) for side in (rows, columns))
    boxes = torch.stack([top, left, bottom, right], dim=1) / size
    return torch.where(seen.any((1, 2))[:, None], boxes, boxes.new_tensor(FULL_BOX))
