"""The command line of ``tools/train.py``, on a tiny DINO and a few rendered images."""
from __future__ import annotations

import errno
import importlib
import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch._dynamo.utils import counters

from mmdssl.engine.loops import TrainLoop
from mmdssl.engine.replay import replay

RUNS = count()
ROOT = Path(__file__).parents[2]
RUN_ITER = TrainLoop.run_iter
CONFIG = """
default_scope = 'mmdssl'
model = dict(
    type='DINO',
    backbone=dict(type='VisionTransformer', arch=dict(embed_dim=16, depth=1, num_heads=2), patch_size=8, img_size=16),
    head=dict(num_prototypes=8, hidden_dim=16, bottleneck_dim=8))
train_dataloader = dict(
    batch_size=4, drop_last=True, sampler=dict(type='EpochSampler'), collate_fn=dict(type='mmdssl.collate_views'),
    dataset=dict(type='ImageFolder', data_root='data/train',
                 views=dict(global_=dict(type='CropViews', size=16, scale=(0.25, 1.0), num=2))))
val_dataloader = dict(batch_size=5, dataset=dict(type='LabelledFolder', data_root='data/val', resize=16, size=16))
val_cfg = dict(type='ProtocolLoop', bank=dict(
    batch_size=5, dataset=dict(type='LabelledFolder', data_root='data/train', resize=16, size=16)))
val_evaluator = dict(type='KNNMetric', k=(3, ))
train_cfg = dict(type='TrainLoop', max_epochs=2, val_before_train=True)
optim_wrapper = dict(type='OptimWrapper', constructor='OptimWrapperConstructor', clip_per_tensor=3.0,
                     optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.04))
auto_scale_lr = dict(enable=True, base_batch_size=256)
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=1),
    checkpoint=dict(type='CheckpointHook', interval=1, save_best='knn3_top1', rule='greater'))
custom_hooks = [dict(type='AlgorithmHook'), dict(type='ExportBackboneHook'), dict(type='RecordHook')]
log_processor = dict(type='LogProcessor')
randomness = dict(seed=0)
"""


def images(folder: Path, number: int) -> None:
    folder.mkdir(parents=True)
    for i in range(number):
        pixels = np.random.default_rng([i, len(folder.name)]).integers(0, 255, (20, 24, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f'{i}.png')


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A folder, now the current one, with ``tiny.py`` and its data: 12 images to train on."""
    (tmp_path / 'tiny.py').write_text(CONFIG)
    for part, number in (('train', 6), ('val', 2)):
        for name in ('a', 'bb'):
            images(tmp_path / 'data' / part / name, number)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope='module')
def tool(load_tool):
    return load_tool('train')


@pytest.fixture
def main(tool, here):
    """The command, as if each call were a process of its own: MMEngine shares logs between runs of one name."""

    def run(arguments: list[str]) -> int:
        (here / 'tiny.py').write_text(f"{CONFIG}experiment_name = 'run{next(RUNS)}'\n")
        return tool.main(arguments)
    yield run
    signal.signal(signal.SIGINT, signal.default_int_handler)  # after one Ctrl-C, the next would end the process


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def records(work_dir: Path) -> list[dict]:
    return [json.loads(line) for line in (work_dir / 'results.jsonl').read_text().splitlines()]


def files(folder: Path) -> set[Path]:
    return set(folder.rglob('*'))


def test_train_then_resume(main, here, capsys):
    assert main(['tiny.py']) == 0
    work_dir = here / 'work_dirs/tiny'
    assert {'backbone.safetensors', 'epoch_2.pth', 'last_checkpoint'} <= {file.name for file in work_dir.iterdir()}
    assert [record['epoch'] for record in records(work_dir)] == [0, 1, 2]
    out = capsys.readouterr().out
    assert 'Epoch(train) [2][3/3]' in out
    for record in records(work_dir):
        assert f'Epoch(val) [{record["epoch"]}]  knn3_top1: {record["metrics"]["knn3_top1"]:.1f}\n' in out

    os.remove(work_dir / 'epoch_2.pth')
    assert main(['tiny.py', '--resume', str(work_dir / 'epoch_1.pth'), '--amp', 'bf16']) == 0
    out = capsys.readouterr().out
    assert 'Epoch(train) [1]' not in out and 'Epoch(train) [2][3/3]' in out
    assert (work_dir / 'epoch_2.pth').exists()


def test_the_console_has_what_happens_and_the_log_the_rest(main, here, capsys):
    assert main(['tiny.py', '--cfg-options', 'train_cfg.max_epochs=1']) == 0
    out = capsys.readouterr().out
    log, = (here / 'work_dirs/tiny').glob('*/*.log')
    for text in 'System environment', 'optim_wrapper = dict(', 'Hooks will be', 'Exp name', '"FileClient"':
        assert text in log.read_text() and text not in out
    start, _, rate = out.splitlines()[:3]
    assert start.startswith('tiny.py, by mmdssl 0.') and 'Learning rate' in rate
    assert 'Features of' not in out


def test_a_console_of_a_slow_run_is_never_silent_for_long(main, here, capsys, monkeypatch):
    monkeypatch.setattr('mmdssl.news.SECONDS', 0.)
    assert main(['tiny.py', '--cfg-options', 'train_cfg.max_epochs=1', 'val_dataloader.batch_size=2']) == 0
    assert re.search(r'Features of data/val: \d+ %(, \d+ s left)?\n', capsys.readouterr().out)


@pytest.mark.parametrize('arguments, message', [
    (['none.py'], "config 'none.py' does not exist"),
    (['tiny.py', '--data', 'nowhere'], "--data 'nowhere' does not exist"),
    (['tiny.py', '--knn', 'data/train'], "has no folder 'train'"),
    (['tiny.py', '--cfg-options', 'optim_wrapper.optimizer.rl=1'], "has no 'optim_wrapper.optimizer.rl'"),
    (['tiny.py', '--cfg-options', 'train_dataloader.dataset.data_root=gone'], "'gone' does not exist"),
    (['tiny.py', '--cfg-options', 'train_dataloader.batch_size=99'], 'fewer than one batch of 99'),
    (['tiny.py', '--amp', 'fp16', '--cfg-options', 'train_cfg.val_before_train=False'], "use amp='bf16' on the CPU"),
    (['tiny.py', '--resume', 'gone.pth'], 'gone.pth does not exist'),
    (['tiny.py', '--launcher', 'pytorch'], "launcher 'pytorch' did not start this process, RANK is not set"),
    (['tiny.py', '--work-dir', 'tiny.py'], 'is a file: give another --work-dir'),
    (['tiny.py', '--cfg-options', 'optim_wrapper.optimizer.lr=fast'], "optim_wrapper.optimizer.lr='fast': give a number"),
    (['tiny.py', '--cfg-options', 'optim_wrapper=None'], 'tiny.py trains nothing'),
    (['tiny.py', '--cfg-options', 'model.momentum=2'], 'DINO has momentum=2: give a number from 0 to 1'),
    (['tiny.py', '--cfg-options', 'model.head.num_prototypes=1'], 'DINOHead has num_prototypes=1'),
    (['tiny.py', '--cfg-options', 'model.backbone.patch_size=eight'], "VisionTransformer has patch_size='eight'"),
    (['tiny.py', '--cfg-options', 'train_dataloader.dataset.views.global_.size=0'], 'CropViews has size=0'),
    (['tiny.py', '--cfg-options', 'val_evaluator.k=[3,1000]'], 'KNNMetric has k=1000, but the bank has 12 images'),
])
def test_what_the_user_got_wrong_is_said_in_a_line(main, here, capsys, arguments, message):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith('error: ') and message in error and error.count('\n') == 1


@pytest.mark.parametrize('right, wrong, message', [
    ('num_prototypes=8', 'num_protos=8', "the config's key 'num_protos' is read by nothing"),
    (', scale=(0.25, 1.0)', '', "the config of CropViews has no 'scale': add it"),
    ("default_scope = 'mmdssl'", "_base_ = 'gone.py'", "config 'tiny.py' cannot be read (FileNotFoundError"),
    ('randomness = dict(', 'randomness = dict((', "config 'tiny.py' cannot be read (SyntaxError"),
])
def test_mistakes_in_the_config_are_said_in_a_line(main, here, capsys, monkeypatch, right, wrong, message):
    assert right in CONFIG
    monkeypatch.setattr(sys.modules[__name__], 'CONFIG', CONFIG.replace(right, wrong))
    assert main(['tiny.py']) == 2
    error = capsys.readouterr().err
    assert error.startswith(f'error: {message}') and error.count('\n') == 1


@pytest.mark.parametrize('arguments', [
    ['more'], ['--data', 'mine', 'more.tar', 'more'], ['more.tar'], ['--data', 'a.tar', '--mor', 'b.tar']])
def test_arguments_that_are_no_more_tars_are_refused(main, capsys, arguments):
    with pytest.raises(SystemExit) as end:
        main(['tiny.py', *arguments])
    assert end.value.code == 2 and 'error: unrecognized arguments: ' in capsys.readouterr().err


@pytest.mark.parametrize('option', ['train_cfg.max_epochs', 'val_evaluator.k=[1,(2'])
def test_an_option_that_cannot_be_read_is_said_in_a_line(main, capsys, option):
    with pytest.raises(SystemExit) as end:
        main(['tiny.py', '--cfg-options', option])
    assert end.value.code == 2
    assert f'error: --cfg-options {option} is not KEY=VALUE' in capsys.readouterr().err.splitlines()[-1]


def test_a_config_without_content_is_said_in_a_line(tool, here, capsys):
    (here / 'empty.py').touch()
    assert tool.main(['empty.py']) == 2
    assert "error: config 'empty.py' is empty: give the config of a whole run" in capsys.readouterr().err
    (here / 'no_model.py').write_text(CONFIG.replace('model = dict(', 'VARIABLE = dict(').replace('VARIABLE', 'data_root'))
    assert tool.main(['no_model.py']) == 2
    assert "error: the runner refuses the config (KeyError: 'model')" in capsys.readouterr().err


def test_mistakes_in_the_data_are_said_in_a_line(main, here, capsys):
    for image in (here / 'data/train').rglob('*.png'):
        image.write_bytes(b'broken')
    assert main(['tiny.py', '--cfg-options', 'train_dataloader.num_workers=1', 'train_cfg.val_before_train=False']) == 2
    error = capsys.readouterr().err
    assert error.startswith('error: 10 files in a row') and error.count('\n') == 1


def test_a_loss_that_is_not_finite_can_be_replayed(main, here, capsys):
    assert main(['tiny.py', '--amp', 'bf16', '--cfg-options', 'optim_wrapper.optimizer.lr=1e30',
                 'train_cfg.val_before_train=False', 'train_cfg.max_epochs=9']) == 2
    error = capsys.readouterr().err
    assert 'error: the loss is not finite in iteration' in error and error.count('\n') == 1
    file, = (here / 'work_dirs/tiny').glob('replay_iter_*_rank0.pth')
    assert str(file) in error
    assert not math.isfinite(replay(file, 'cpu')['loss'])


def test_dry_run_tells_all_and_leaves_nothing(main, here, capsys, monkeypatch):
    monkeypatch.setenv('COLUMNS', '100')
    temporary = here / 'tmp'
    temporary.mkdir()
    monkeypatch.setattr('tempfile.tempdir', str(temporary))
    before = files(here)
    assert main(['tiny.py', '--dry-run', '--cfg-options', 'optim_wrapper.accumulative_counts=2']) == 0
    assert files(here) == before
    out = capsys.readouterr().out
    for name, value in {'training images': '12', 'k-NN: bank, queries': '12, 4', 'global batch': '8 images',
                        'learning rate': 'e-05', 'epochs x iterations': '2 x 3', 'speed': 'images per second',
                        'peak memory': 'MiB', 'limited by': 'workers: 0', 'time to finish': 'hours',
                        'trained parameters': ' M'}.items():
        assert any(name in line and value in line for line in out.splitlines()), name


def test_compiled_blocks_train_alike(main, here, monkeypatch):
    """PQCL with drop path, three iterations: the same losses, and a checkpoint that any other run can read."""
    pqcl = CONFIG.replace("type='DINO'", "type='PQCL'").replace('img_size=16)', (
        "img_size=16, position='sincos', mask_token=True, drop_path_rate=0.2)")).replace('depth=1', 'depth=3').replace(
        'num=2)', "num=2), query=dict(type='CropViews', size=8, scale=(0.05, 0.25))")
    monkeypatch.setattr(sys.modules[__name__], 'CONFIG', pqcl)
    torch._dynamo.reset()
    counters.clear()
    losses, keys = {}, {}
    for name, options in dict(plain=[], compiled=['compile.backend=aot_eager']).items():
        assert main(['tiny.py', '--work-dir', name, '--cfg-options', 'train_cfg.max_epochs=1', 'model.masked=False',
                     'optim_wrapper.optimizer.lr=0.1', *options]) == 0
        checkpoint = torch.load(here / name / 'epoch_1.pth', weights_only=False)
        losses[name] = checkpoint['message_hub']['log_scalars']['train/loss'].data[0]
        keys[name] = list(checkpoint['state_dict'])
        assert bool(counters['stats']['unique_graphs']) == (name == 'compiled')
    assert len(losses['plain']) == 3 and len(set(losses['plain'])) == 3
    assert losses['compiled'] == pytest.approx(losses['plain'], abs=1e-5)
    assert keys['compiled'] == keys['plain']
    assert not counters['graph_break']


@pytest.mark.parametrize('moment, n', [
    ('mmdssl.engine.loops.ProtocolLoop.run', 1), ('mmdssl.engine.loops.ProtocolLoop.run', 3),
    ('mmdssl.protocols.knn.KNNMetric.__call__', 2),
    ('mmdssl.engine.hooks.CheckpointHook._save_best_checkpoint', 2), ('mmdssl.engine.hooks.CheckpointHook._save_best_checkpoint', 3)])
def test_each_evaluation_of_a_killed_run_is_recorded_once(main, here, monkeypatch, moment, n):
    """Killed before or in an evaluation, or after its record and before its checkpoint."""
    assert main(['tiny.py', '--work-dir', 'whole']) == 0
    module, name, method = moment.rsplit('.', 2)
    owner, calls = getattr(importlib.import_module(module), name), []
    original = getattr(owner, method)

    def die(*args, **kwargs):
        calls.append(moment)
        if len(calls) == n:
            raise KeyboardInterrupt
        return original(*args, **kwargs)
    with monkeypatch.context() as patch:
        patch.setattr(owner, method, die)
        assert main(['tiny.py']) == 130
    assert main(['tiny.py', '--resume']) == 0
    whole, killed = ([{key: value for key, value in record.items() if key != 'time'} for record in records(here / folder)]
                     for folder in ('whole', 'work_dirs/tiny'))
    assert killed == whole and [record['epoch'] for record in whole] == [0, 1, 2]


@pytest.mark.parametrize('kind', ['folder', 'list', 'coco', 'tars'])
def test_own_images_are_trained_on_without_knn(main, here, kind, capsys):
    images(here / 'mine/photos', 5)
    (here / 'mine/list.txt').write_text('\n'.join(f'photos/{i}.png' for i in range(5)))
    (here / 'mine/annotations').mkdir()
    coco = here / 'mine/annotations/instances_photos.json'
    coco.write_text(json.dumps(dict(images=[dict(id=i, file_name=f'{i}.png') for i in range(5)])))
    for part in range(2):
        with tarfile.open(here / f'mine/{part}.tar', 'w') as tar:
            for i in range(3):
                tar.add(here / f'mine/photos/{i}.png', f'{i}.png')
    paths = dict(folder=['mine'], list=['mine/list.txt'], coco=[str(coco)], tars=['mine/0.tar', 'mine/1.tar'])[kind]
    assert main(['tiny.py', '--data', *paths, '--work-dir', kind, '--cfg-options', 'train_cfg.max_epochs=1']) == 0
    assert (here / kind / 'epoch_1.pth').exists() and not (here / kind / 'results.jsonl').exists()
    assert capsys.readouterr().out.count('k-NN is off: give --knn FOLDER') == 1
    dumped = (here / kind / 'tiny.py').read_text()
    assert 'global_' in dumped and "data_root='data/train'" not in dumped


def test_own_images_with_labels_elsewhere(main, here, capsys):
    images(here / 'mine', 5)
    (here / 'data').rename(here / 'labelled')
    assert main(['tiny.py', '--data', 'mine', '--knn', 'labelled', '--cfg-options', 'train_cfg.max_epochs=1']) == 0
    assert [(record['epoch'], record['dataset_name']) for record in records(here / 'work_dirs/tiny')] == [(0, 'labelled'), (1, 'labelled')]
    assert 'k-NN is off' not in capsys.readouterr().out


def masks(root: Path, parts: tuple[str, str]) -> None:
    """Six images to learn from and two to ask of, of 20 x 24 px, with the ids 1 and 2."""
    for part, number in zip(parts, (6, 2)):
        images(root / 'images' / part, number)
        images(root / 'annotations' / part, number)
        for path in (root / 'annotations' / part).iterdir():
            Image.fromarray(np.array(Image.open(path))[..., 0] % 2 + 1).save(path)
    (root / 'classes.txt').write_text('one\ntwo\n')


def test_patches_are_measured_beside_knn_and_change_nothing_else(main, here, capsys):
    masks(here / 'dense', ('training', 'validation'))
    short = ['--cfg-options', 'train_cfg.max_epochs=1']
    assert main(['tiny.py', '--work-dir', 'plain', *short]) == 0
    capsys.readouterr()
    assert main(['tiny.py', '--work-dir', 'dense_too', '--dense', 'dense', *short]) == 0
    plain, dense = (torch.load(here / name / 'epoch_1.pth', weights_only=False)['state_dict'] for name in ('plain', 'dense_too'))
    assert all(torch.equal(plain[name], dense[name]) for name in plain)
    for without, record in zip(records(here / 'plain'), records(here / 'dense_too')):
        metrics = dict(record['metrics'])
        assert all(0 <= metrics.pop(name) <= 100 for name in ('mIoU_hbird', 'mIoU_clean', 'accuracy_clean'))
        assert metrics == without['metrics'] and record['task'] == 'knn'
    assert re.search(r'Epoch\(val\) \[1\]  knn3_top1: [\d.]+  mIoU_hbird: [\d.]+  mIoU_clean: ', capsys.readouterr().out)
    assert [path.name[:4] for path in (here / 'dense_too').glob('best_*')] == ['best'], 'by k-NN, as without'


def test_patches_without_knn_or_masks_are_refused(main, here, capsys):
    masks(here / 'dense', ('train', 'val'))
    assert main(['tiny.py', '--data', 'data/train', '--dense', 'dense']) == 2
    assert '--dense measures patches beside k-NN, which is off' in capsys.readouterr().err
    assert main(['tiny.py', '--dense', 'data']) == 2
    needed = 'it needs images/train, images/val, annotations/train and annotations/val (or, as ADE20K, training and validation)'
    assert f"--dense 'data' has no folder 'images/train': {needed}" in capsys.readouterr().err
    assert main(['tiny.py', '--dense', 'nope']) == 2
    assert f"--dense 'nope' is not a folder: {needed}" in capsys.readouterr().err
    assert main(['tiny.py', '--dense', 'dense']) == 2
    told = capsys.readouterr().err
    assert re.search(r"the mask '.*0.png' has the id 2, which is of none of the 2 classes", told)
    remedy = re.search(r'val_cfg\S+\]', told)[0]
    assert main(['tiny.py', '--dense', 'dense', '--cfg-options', 'train_cfg.max_epochs=1', remedy, remedy.replace('bank', 'queries')]) == 0


def test_ctrl_c_says_in_a_line_where_the_run_stands_and_how_to_go_on(main, here, capfd, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['tools/train.py'])
    stop_in_iteration(monkeypatch, 2, signal.SIGINT)
    assert main(['tiny.py']) == 130
    assert capfd.readouterr().err == 'stopped by Ctrl-C; no checkpoint has been saved yet\n'

    stop_in_iteration(monkeypatch, 5, signal.SIGINT)
    assert main(['tiny.py', '--work-dir', 'my run', '--cfg-options', 'train_dataloader.num_workers=1']) == 130
    assert capfd.readouterr().err == (
        f'stopped by Ctrl-C; the last checkpoint is {here}/my run/epoch_1.pth, to continue: python tools/train.py tiny.py '
        "--work-dir 'my run' --cfg-options train_dataloader.num_workers=1 --resume\n")
    monkeypatch.setattr(TrainLoop, 'run_iter', RUN_ITER)
    assert main(['tiny.py', '--work-dir', 'my run', '--resume']) == 0
    assert 'Epoch(train) [1]' not in capfd.readouterr().out


def test_an_older_run_of_the_folder_is_not_what_ctrl_c_offers_to_continue(main, here, capfd, monkeypatch):
    assert main(['tiny.py']) == 0
    for file in (here / 'work_dirs/tiny').glob('*.pth'):
        os.utime(file, (file.stat().st_mtime - 60, ) * 2)
    stop_in_iteration(monkeypatch, 2, signal.SIGINT)
    capfd.readouterr()
    assert main(['tiny.py']) == 130
    assert 'no checkpoint has been saved yet' in capfd.readouterr().err


@pytest.mark.parametrize('call', [1, 4])
def test_ctrl_c_in_a_save_leaves_no_half_file(main, here, capfd, monkeypatch, call):
    from mmdssl.checkpoint import files
    original, calls = files._to_disk, []

    def interrupted(path):
        calls.append(path)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGINT)
        original(path)
    monkeypatch.setattr(files, '_to_disk', interrupted)
    assert main(['tiny.py']) == 130
    assert capfd.readouterr().err.startswith('stopped by Ctrl-C; ')
    assert not list((here / 'work_dirs/tiny').glob('.*.partial'))


def stop_in_iteration(monkeypatch, iteration: int, number: int) -> None:
    def run_iter(self, *args):
        if self.iter == iteration - 1:
            os.kill(os.getpid(), number)
        return RUN_ITER(self, *args)
    monkeypatch.setattr(TrainLoop, 'run_iter', run_iter)


def test_a_disk_that_is_full_is_said_in_a_line(main, here, capfd, monkeypatch):
    from mmdssl.checkpoint import files

    def full(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(files, '_to_disk', full)
    assert main(['tiny.py']) == 2
    error = capfd.readouterr().err
    assert error.startswith('error: no space left on device') and 'make room; no checkpoint has been saved yet' in error
    assert error.count('\n') == 1


def test_a_work_dir_that_is_gone_is_said_in_a_line(main, here, capfd, monkeypatch):
    original = TrainLoop.run_epoch

    def run_epoch(self):
        shutil.rmtree('work_dirs/tiny')
        original(self)
    monkeypatch.setattr(TrainLoop, 'run_epoch', run_epoch)
    assert main(['tiny.py', '--cfg-options', 'train_cfg.val_before_train=False']) == 2
    error = capfd.readouterr().err
    assert error.startswith('error: no such file or directory') and 'it was removed' in error and error.count('\n') == 1


def test_sigterm_to_a_real_process_saves_and_exits_to_be_requeued(main, here, capfd):
    """In the middle of an epoch, with a worker that is sent the signal too, as a cluster does; then the rest of the run."""
    arguments = ['tiny.py', '--cfg-options', 'train_cfg.max_epochs=400', 'train_cfg.val_interval=400', 'train_dataloader.num_workers=1',
                 'train_dataloader.persistent_workers=True', 'default_hooks.checkpoint.interval=400']
    with subprocess.Popen([sys.executable, ROOT / 'tools/train.py', *arguments], env={**os.environ, 'PYTHONPATH': str(ROOT)},
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True) as run:
        assert any('[2][1/3]' in line for line in run.stdout)
        os.killpg(run.pid, signal.SIGTERM)
        error = run.communicate()[1]
    assert run.returncode == 75
    assert re.fullmatch(r'stopped: SIGTERM came, and iteration \d+ is done; the last checkpoint is .*/work_dirs/tiny/interrupted.pth, '
                        r'to continue: python .*/tools/train.py tiny.py .* --resume\n', error)
    checkpoint = torch.load(here / 'work_dirs/tiny/interrupted.pth', weights_only=False)
    assert checkpoint['meta']['iter'] == int(re.search(r'iteration (\d+)', error)[1])


def test_two_processes_by_script(main, here):
    """k-NN of the same initial weights is the same, and log and learning rate know of both processes."""
    only_knn = ['--cfg-options', 'train_cfg.max_epochs=1', 'train_dataloader.batch_size=2']
    assert main(['tiny.py', '--work-dir', 'one', *only_knn]) == 0
    environment = {**os.environ, 'PYTHON': sys.executable, 'PORT': str(free_port()), 'PYTHONPATH': str(ROOT),
                   'CUDA_VISIBLE_DEVICES': ''}
    environment.pop('OMP_NUM_THREADS', None)  # nor does the script have to be told
    run = subprocess.run(['bash', ROOT / 'tools/dist_train.sh', 'tiny.py', '2', '--work-dir', 'two', *only_knn],
                         env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    assert not re.search('NUM_THREADS|broadcast_buffers|destroy_process_group', run.stderr)
    one, two = (records(here / name) for name in ('one', 'two'))
    assert one[0]['metrics'] == two[0]['metrics'] and one[0]['checkpoint'] == two[0]['checkpoint']
    assert len(two) == 2
    assert '4 (2 per process x 2 processes x 1 accumulated)' in run.stdout
    assert 'Epoch(train) [1][3/3]' in run.stdout


def slurm(here: Path, codes: list[int], **environment: str) -> tuple[subprocess.CompletedProcess, list[str]]:
    """Run the script where ``srun`` ends with these exit codes in turn; also returns how Slurm was called."""
    for name, script in dict(srun='echo srun "$@" >> calls; read -r code rest < codes; echo "$rest" > codes; exit "$code"',
                             scontrol='echo scontrol "$@" >> calls').items():
        command = here / 'bin' / name
        command.parent.mkdir(exist_ok=True)
        command.write_text(f'#!/usr/bin/env bash\n{script}\n')
        command.chmod(0o755)
    (here / 'codes').write_text(' '.join(map(str, codes)) + '\n')
    (here / 'calls').unlink(missing_ok=True)
    own = {key: value for key, value in os.environ.items() if not key.startswith('SLURM')}
    run = subprocess.run(['bash', ROOT / 'tools/slurm_train.sh', 'gpu', 'job', 'tiny.py', '--amp', 'bf16'],
                         env={**own, 'PATH': f'{here / "bin"}:{os.environ["PATH"]}', **environment}, capture_output=True, text=True)
    return run, (here / 'calls').read_text().splitlines()


def test_slurm_script_starts_one_task_per_gpu(here):
    run, (call, ) = slurm(here, [0], GPUS='4', SRUN_ARGS='--time 1:00', WARNING='60')
    assert run.returncode == 0
    for part in ('--partition gpu', '--job-name job', '--ntasks 4', '--ntasks-per-node 4', '--gres gpu:4', '--signal USR1@60',
                 '--time 1:00', 'train.py tiny.py --launcher slurm --amp bf16'):
        assert part in call
    assert '--resume' not in call


def test_slurm_script_starts_a_stopped_run_again(here):
    run, calls = slurm(here, [75, 75, 0])
    assert run.returncode == 0
    assert [call.endswith('--amp bf16 --resume') for call in calls] == [False, True, True]


def test_slurm_script_requeues_its_batch_job(here):
    run, calls = slurm(here, [75], SLURM_JOB_ID='17')
    assert run.returncode == 0 and calls[1:] == ['scontrol requeue 17']
    run, calls = slurm(here, [0], SLURM_JOB_ID='17', SLURM_RESTART_COUNT='1')
    assert run.returncode == 0 and calls[0].endswith('--resume') and len(calls) == 1


def test_slurm_script_leaves_a_failed_run_alone(here):
    run, calls = slurm(here, [2], SLURM_JOB_ID='17')
    assert run.returncode == 2 and len(calls) == 1


@pytest.mark.parametrize('script', ['dist_train.sh', 'slurm_train.sh'])
def test_scripts_explain_themselves(script):
    run = subprocess.run(['bash', ROOT / 'tools' / script], capture_output=True, text=True)
    assert run.returncode == 2 and f'tools/{script}' in run.stderr
