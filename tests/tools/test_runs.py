"""Whole runs of tools/train.py: on two processes, killed and resumed, in bf16."""
from __future__ import annotations

import json
import signal
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from processes import load_tool, run_tool, start

ROOT = Path(__file__).parents[2]
CONFIG = """
_base_ = '{base}'
model = dict(backbone=dict(arch=dict(embed_dim=48, depth=2, num_heads=3), drop_path_rate={drop_path}), {head})
train_dataloader = dict(batch_size=8, num_workers=1, dataset=dict(data_root='{data}'))
val_dataloader = val_cfg = val_evaluator = None
train_cfg = dict(max_epochs={epochs}, val_before_train=False)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval={interval}, by_epoch=False, save_best=None))
log_processor = dict(window_size=1)
visualizer = dict(vis_backends=[dict(type='LocalVisBackend')])
"""
HEAD = 'head=dict(num_prototypes=64, hidden_dim=32, bottleneck_dim=16), freeze_last_layer=1'
PROJECTOR = 'projector=dict(hidden_dim=32, out_dim=16)'


@pytest.fixture(scope='module')
def images(tmp_path_factory) -> Path:
    """40 images with some structure."""
    folder = tmp_path_factory.mktemp('images')
    rng = np.random.default_rng(0)
    for i in range(40):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        coarse.resize((96, 72), Image.Resampling.BICUBIC).save(folder / f'{i:02d}.png')
    return folder


def write_config(folder: Path, method: str, data: Path, epochs: int = 2, interval: int = 100, drop_path: float = 0.) -> Path:
    path = folder / f'{method}.py'
    base = ROOT / f'configs/small/{method}.py'
    head = PROJECTOR if method == 'bam' else HEAD
    path.write_text(CONFIG.format(base=base, data=data, epochs=epochs, interval=interval, drop_path=drop_path, head=head))
    return path


def train(config: Path, work_dir: Path, *args: str, processes: int = 1) -> None:
    run_tool('train', config, '--work-dir', work_dir, *args, processes=processes)


def logged(work_dir: Path, name: str = 'loss') -> dict[int, float]:
    """A scalar by step, over all (resumed) logs of a run, the latest value of each step."""
    values = {}
    for file in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in file.read_text().splitlines():
            record = json.loads(line)
            if name in record:
                values[record['step']] = record[name]
    return values


ON_THE_DEVICE = """
train_dataloader['dataset'].update(backend='fast', photometric_device=True)
"""


@pytest.mark.parametrize('method, names, colours', [
    ('pqcl', ('loss_cls', 'loss_query', 'entropy'), ''),
    ('adclr', ('loss_cls', 'loss_query', 'entropy'), ON_THE_DEVICE),
    ('bam', ('loss_bam', 'entropy_source', 'entropy_target'), ''),
])
def test_two_processes_follow_one(method, names, colours, images, tmp_path):
    """Half the batch on each of two gloo processes: the losses of ten steps agree to 1e-5, and so does every term."""
    config = write_config(tmp_path, method, images)
    config.write_text(config.read_text() + colours)
    train(config, tmp_path / 'one')
    train(config, tmp_path / 'two', '--cfg-options', 'train_dataloader.batch_size=4', processes=2)
    for name in ('loss', *names):
        one, two = logged(tmp_path / 'one', name), logged(tmp_path / 'two', name)
        assert list(one) == list(two) == list(range(1, 11))
        assert np.allclose(list(one.values()), list(two.values()), rtol=0, atol=1e-5)
    assert len(set(one.values())) == 10


def test_killed_and_resumed_equals_never_killed(images, tmp_path):
    """SIGKILL in the middle of an epoch: the resumed run logs the same losses, step for step, drop path and all."""
    config = write_config(tmp_path, 'pqcl', images, epochs=4, interval=3, drop_path=0.2)
    train(config, tmp_path / 'whole')
    killed_and_resumed(config, tmp_path / 'killed')
    whole, resumed = logged(tmp_path / 'whole'), logged(tmp_path / 'killed')
    assert list(whole) == sorted(resumed) == list(range(1, 21))
    assert whole == resumed
    assert whole[10] != whole[5]


def killed_and_resumed(config: Path, work_dir: Path, iterations: int = 20) -> None:
    """A run of so many iterations, five in an epoch and checkpoints every third, which is killed within its second epoch."""
    run, = start(load_tool('train').main, 1, [str(config), '--work-dir', str(work_dir)])
    while not (work_dir / 'iter_6.pth').exists():
        assert run.running(), run.output()
        time.sleep(0.005)
    run.send(signal.SIGKILL)
    run.wait()
    assert max(logged(work_dir)) < iterations, 'the run finished before it was killed'
    train(config, work_dir, '--resume')


def test_a_killed_run_from_tars_with_colours_on_the_device_resumes(images, tmp_path):
    """Shuffled two tars at a time; bit for bit."""
    files = sorted(images.iterdir())
    for number, part in enumerate((files[:5], files[5:25], files[25:])):
        with tarfile.open(tmp_path / f'{number}.tar', 'w') as tar:
            for file in part:
                tar.add(file, file.name)
    config = write_config(tmp_path, 'pqcl', tmp_path, epochs=3, interval=3)
    config.write_text(config.read_text() + ON_THE_DEVICE + """
train_dataloader['dataset']['type'] = 'TarImages'
train_dataloader['sampler'] = dict(type='EpochSampler', shards_together=2)
""")
    train(config, tmp_path / 'whole')
    killed_and_resumed(config, tmp_path / 'killed', 15)
    whole, resumed = logged(tmp_path / 'whole'), logged(tmp_path / 'killed')
    assert whole == resumed and list(whole) == list(range(1, 16)) and len(set(whole.values())) == 15


def test_bf16_stays_close_to_fp32(images, tmp_path):
    """20 steps under bf16 autocast: finite throughout, within 2 % of the fp32 loss."""
    config = write_config(tmp_path, 'pqcl', images, epochs=4)
    train(config, tmp_path / 'fp32')
    train(config, tmp_path / 'bf16', '--amp', 'bf16')
    fp32, bf16 = (np.array(list(logged(tmp_path / name).values())) for name in ('fp32', 'bf16'))
    assert len(bf16) == 20 and np.isfinite(bf16).all()
    assert (bf16 != fp32).any()
    assert np.abs(bf16 - fp32).max() < 0.02 * fp32.mean()
