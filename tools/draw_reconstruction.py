"""Draw what masked modelling makes of some photos: the photo, what is left of it, and what the network answers (MAE, MaskFeat, BEiT)."""
from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmengine.config import Config, DictAction

import mmdssl  # noqa: F401  registers everything
from mmdssl.checkpoint.files import read_checkpoint
from mmdssl.cli.arguments import read_config
from mmdssl.cli.guard import guarded
from mmdssl.datasets import ImageFolder, Views
from mmdssl.errors import InputError
from mmdssl.models.algorithms import Algorithm
from mmdssl.registry import MODELS
from mmdssl.visualization import draw_reconstruction


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: 2 after an error that the message on stderr explains."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', metavar='CONFIG', help='pretraining config, such as configs/pretrain/mae.py')
    parser.add_argument('checkpoint', metavar='CHECKPOINT', help='epoch_N.pth of a run with it, which has the decoder, too')
    parser.add_argument('--images', required=True, metavar='FOLDER', help='folder of photos')
    parser.add_argument('--number', type=int, default=4, help='how many of them, the first in the order of their names')
    parser.add_argument('--out', default='reconstruction.png', metavar='PNG', help='the picture to write')
    parser.add_argument('--seed', type=int, default=0, help='of the crops and of the masks')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE',
                        help='change values of the config, for instance train_dataloader.dataset.views.global_.mask.ratio=0.9')
    parser.set_defaults(work_dir=None, launcher='none')
    args = parser.parse_args(argv)
    return guarded(lambda: run(args))


def run(args: argparse.Namespace) -> None:
    out = Path(args.out)
    if args.number < 1 or not out.parent.is_dir():
        raise InputError(f'--number {args.number} must be 1 or more, and the folder of --out {out} must exist')
    cfg = read_config(args)
    algorithm = trained(cfg, args.checkpoint)
    source = cfg.train_dataloader.dataset
    dataset = ImageFolder(args.images, indices=args.number, pipeline=source.get('pipeline', []), views=source.views)
    views = Views.collate([dataset[(args.seed, 0, i)] for i in range(len(dataset))])
    draw_reconstruction(algorithm.pictures(algorithm.data_preprocessor(views)['views']), out)
    print(f'{out}: {len(dataset)} photos')


def trained(cfg: Config, checkpoint: str) -> Algorithm:
    """The algorithm of a config with all weights of a run's checkpoint, in eval mode."""
    algorithm = MODELS.build(cfg.model)
    if not hasattr(algorithm, 'pictures'):
        raise InputError(f'{cfg.filename} trains {type(algorithm).__name__}, which draws nothing: give a config of MAE, MaskFeat or BEiT')
    content = read_checkpoint(checkpoint)
    state = content.get('state_dict') if isinstance(content, dict) else None
    if state is None:
        raise InputError(f'{checkpoint} is no checkpoint of a run: give its epoch_N.pth, which has the decoder beside the backbone')
    own = {name: tensor.shape for name, tensor in algorithm.state_dict().items()}
    wrong = sorted(name for name in own.keys() | state.keys() if name not in state or own.get(name) != state[name].shape)
    if wrong:
        raise InputError(f'{checkpoint} is of another network than {cfg.filename}: {len(wrong)} tensors are not the same, first {wrong[0]}')
    algorithm.load_state_dict(state)
    return algorithm.eval()


if __name__ == '__main__':
    sys.exit(main())
