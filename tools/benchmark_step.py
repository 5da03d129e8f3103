"""Cost of one training step of a config, in units of the bare backbone work on the same global views.

The bare work is the student's forward and backward and the teacher's forward of the global views, without heads, losses, other
views and the optimizer.
"""
from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from mmdssl.cli.arguments import add_options

if TYPE_CHECKING:
    import torch

    from mmdssl.datasets import Views


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config')
    parser.add_argument('--batch-size', type=int, default=8)
    parser.add_argument('--steps', type=int, default=5, help='timed repetitions, of which the median counts')
    parser.add_argument('--amp', choices=['bf16', 'fp16'])
    add_options(parser)
    measure(parser.parse_args())


def measure(args: argparse.Namespace) -> None:
    import torch
    from mmengine.config import Config
    from mmengine.device import get_device

    from mmdssl.engine.optim_wrapper import autocast
    from mmdssl.registry import MODELS
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options)
    device = torch.device(get_device())
    algorithm = MODELS.build(cfg.model).to(device).train()
    views = noise(cfg.train_dataloader.dataset.views, args.batch_size).to(device)
    images = views['global'].images.flatten(0, 1)

    def step() -> None:
        with autocast(device, args.amp):
            total, _ = algorithm.parse_losses(algorithm(views))
        total.backward()
        algorithm.zero_grad()
        algorithm.after_step()

    def bare() -> None:
        with autocast(device, args.amp):
            with torch.no_grad():
                algorithm.teacher.backbone.features(images)
            algorithm.student.backbone.features(images).float().sum().backward()
        algorithm.zero_grad()

    # Turn by turn, so that a busy machine slows both alike.
    pairs = [(seconds(step, device), seconds(bare, device)) for _ in range(args.steps + 1)][1:]
    whole, base = (statistics.median(times) for times in zip(*pairs))
    print(f'{type(algorithm).__name__}: step {whole:.3f} s, bare backbone {base:.3f} s, ratio {whole / base:.2f}')


def noise(recipes: dict, batch_size: int) -> Views:
    """Views of noise, with the sizes, boxes and masks that the config's recipes give."""
    import torch
    from PIL import Image

    from mmdssl.datasets import Views
    from mmdssl.registry import TRANSFORMS
    crops = {name.rstrip('_'): TRANSFORMS.build(recipe) for name, recipe in recipes.items() if recipe}
    samples = []
    for index in range(batch_size):
        image = Image.effect_noise((320, 256), 64).convert('RGB')
        samples.append(Views({name: crop(image) for name, crop in crops.items()}, torch.tensor(index)))
    views = Views.collate(samples)
    for group in views.values():
        group.images = group.images / 128 - 1
    return views


def seconds(function: Callable[[], None], device: torch.device) -> float:
    import torch
    if device.type == 'cuda':
        torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    if device.type == 'cuda':
        torch.cuda.synchronize()
    return time.perf_counter() - start


if __name__ == '__main__':
    main()
