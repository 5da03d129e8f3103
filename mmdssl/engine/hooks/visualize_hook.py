"""Pictures of what a network learns, while it does."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from PIL import Image
from torch import Tensor, nn

from mmdssl.arguments import PositiveInt
from mmdssl.checkpoint.files import whole_file
from mmdssl.datasets.crop_boxes import WholeImages
from mmdssl.datasets.seeding import seeded
from mmdssl.engine.pictures import PICTURES, Scene, spread
from mmdssl.engine.sharding import whole
from mmdssl.engine.unwrap import unwrap
from mmdssl.errors import InputError, Stopped
from mmdssl.registry import HOOKS


@HOOKS.register_module()
class VisualizeHook(Hook):
    """Draws a few images at each validation: into ``work_dir/pictures``, where the last ones stay, and for TensorBoard.

    They are the same images every time: of the validation data, at even distances, and, for what shows views, of the training
    data. A picture that has not changed is not written again. What the network or its views are not made for is left out, and what
    fails is a warning. The run notices nothing of it: states of random generators and of the model are as before. One process draws,
    and the others go on.

    Args:
        what: Which of :data:`mmdssl.engine.pictures.PICTURES`; all by default.
        number: Images to draw.
        bank: Images among which neighbours are looked for.
        interval: Epochs from one time to the next in a run without validation, which draws its training images.
    """
    priority = 'LOW'  # the record of the evaluation comes first

    def __init__(self, what: Sequence[Literal[tuple(PICTURES)]] = tuple(PICTURES), number: PositiveInt = 4, bank: PositiveInt = 64,
                 interval: PositiveInt = 10):
        self.what = what
        self.number = number
        self.bank = max(bank, number)
        self.interval = interval
        self._images: Tensor | None = None
        self._last: dict[str, Image.Image] = {}

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self._draw(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        if runner.val_loop is None and (self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner)):
            self._draw(runner)

    def _draw(self, runner: Runner) -> None:
        with whole(runner):
            if is_main_process():
                self._draw_all(runner)

    def _draw_all(self, runner: Runner) -> None:
        try:
            with undisturbed(unwrap(runner.model)):
                scene = self._scene(runner)
                for name in self.what:
                    self._draw_one(runner, name, scene)
        except Stopped:
            raise
        except Exception as error:  # a run is worth more than its pictures
            self._warn(runner, 'the pictures', error)

    def _draw_one(self, runner: Runner, name: str, scene: Scene) -> None:
        try:
            picture = PICTURES[name](scene)
        except InputError:
            return  # not made for it
        except Stopped:
            raise
        except Exception as error:
            self._warn(runner, name, error)
            return
        if self._last.get(name) == picture:
            return
        self._last[name] = picture
        folder = Path(runner.work_dir, 'pictures')
        folder.mkdir(exist_ok=True)
        with whole_file(folder / f'{name}.png') as partial:
            picture.save(partial, format='PNG')
        runner.visualizer.add_image(name, np.asarray(picture), step=runner.iter)

    @staticmethod
    def _warn(runner: Runner, what: str, error: Exception) -> None:
        runner.logger.warning(f'VisualizeHook cannot draw {what} ({type(error).__name__}: {error}): the run goes on without')

    def _scene(self, runner: Runner) -> Scene:
        algorithm, training = unwrap(runner.model), runner.train_dataloader.dataset
        if self._images is None:
            self._images = self._choose(runner)
        views = training if hasattr(training, 'whole_image') else None
        keys = [(0, 0, i) for i in spread(len(training), self.number)] if views else []
        return Scene(algorithm.backbone, algorithm.data_preprocessor.normalise, self._images, min(self.number, len(self._images)),
                     views, keys, algorithm)

    def _choose(self, runner: Runner) -> Tensor:
        """Some images ``(n, 3, S, S)`` uint8, those to draw first."""
        source, training = runner.val_loop and runner.val_loop.dataloader.dataset, runner.train_dataloader.dataset
        if source is None or not isinstance(source[0], dict) or 'image' not in source[0]:
            if not hasattr(training, 'whole_image'):
                raise InputError('neither the validation data nor the training data give whole images')
            source = WholeImages(training, next(iter(training[(0, 0, 0)].values())).images.shape[-1])
        items = [source[i] for i in spread(len(source), self.bank)]
        images = [item['image'] for item in items if is_readable(item)]
        shown = spread(len(images), self.number)
        return torch.stack([images[i] for i in [*shown, *(i for i in range(len(images)) if i not in shown)]])


def is_readable(item: dict) -> bool:
    """Whether the file of an item of :class:`LabelledFolder` or :class:`WholeImages` could be decoded."""
    return item.get('readable', item.get('label', 0) >= 0)


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluation without gradients after which random generators and modules are as before; nothing is compiled for it."""
    modes = {module: module.training for module in model.modules()}
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with seeded(0), torch.random.fork_rng(devices), torch.no_grad(), torch.compiler.set_stance('force_eager'):
        model.eval()
        try:
            yield
        finally:
            for module, mode in modes.items():
                module.training = mode
