"""How well does a logistic regression tell from frozen features by which right angle an image was turned?

    python tools/analysis/rotation_probe.py FOLDER CHECKPOINT [CHECKPOINT ...]

FOLDER has ``train/<class>/`` and ``val/<class>/``. What a method was taught to ignore, its features cannot tell: MoCo v2 whose views
are turned loses the angle, and LooC, which has a space where only the angle matters, keeps it (Table 2 of the paper). 25 % is chance.
"""
from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch.utils.data import DataLoader, Subset

from mmdssl.checkpoint import load_backbone
from mmdssl.datasets import LabelledFolder, ViewsPreprocessor
from mmdssl.protocols.features import Extractor

PENALTY = 1e-3  # lambda / 2 ||W||^2 beside the mean cross-entropy of features of unit variance


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', type=Path, metavar='FOLDER')
    parser.add_argument('checkpoints', type=Path, nargs='+', metavar='CHECKPOINT')
    parser.add_argument('--size', type=int, default=64, help='side of the images')
    parser.add_argument('--images', type=int, default=2000, help='images of train; val gives at most half as many')
    args = parser.parse_args()
    print('| checkpoint | accuracy of the angle (%) |\n|---|---|')
    for checkpoint in args.checkpoints:
        backbone = load_backbone(checkpoint).eval()
        (x, y), (test_x, test_y) = (turned(backbone, args.data / part, args.size, number)
                                    for part, number in (('train', args.images), ('val', args.images // 2)))
        mean, deviation = x.mean(0), x.std(0) + 1e-6
        classifier = LogisticRegression(C=1 / (PENALTY * len(x)), max_iter=2000).fit((x - mean) / deviation, y)
        print(f'| {checkpoint} | {100 * classifier.score((test_x - mean) / deviation, test_y):.1f} |', flush=True)
    return 0


@torch.inference_mode()
def turned(backbone: torch.nn.Module, folder: Path, size: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of images at each of the four angles, and the angles as 0 to 3."""
    dataset, normalise, read = LabelledFolder(str(folder), resize=size, size=size), ViewsPreprocessor().normalise, Extractor()
    chosen = np.random.default_rng(0).permutation(len(dataset))[:number].tolist()
    features, angles = [], []
    for batch in DataLoader(Subset(dataset, chosen), batch_size=100):
        for angle in range(4):
            features.append(read(backbone, normalise(torch.rot90(batch['image'], angle, (2, 3)))))
            angles += [angle] * len(batch['image'])
    return torch.cat(features).numpy(), np.array(angles)


if __name__ == '__main__':
    sys.exit(main())
