"""tools/benchmark.py, with jobs that only pretend to run, and once for real."""
from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from scipy import stats

from mmdssl.checkpoint import save_backbone
from mmdssl.datasets.sample_world import make_sample_world
from mmdssl.registry import MODELS
from mmdssl.results.records import append_record, read_records

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools/benchmark.py'
SCORES = {  # of the pretended jobs: random weights, pretrained ones
    'detection': dict(box_AP50=(20.25, 30.5), mask_AP50=(15., 14.)),
    'segmentation': dict(mIoU=(30., 30.5)),
    'video-segmentation': {'J&F': (60., 51.)},
}
LENGTH = 10


@pytest.fixture
def benchmark(load_tool, monkeypatch):
    module = load_tool('benchmark')
    monkeypatch.setattr('mmdssl.datasets.sample_world.make_sample_world', lambda root, **kwargs: root.mkdir(parents=True, exist_ok=True))
    return module


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    return save(tmp_path / 'run/backbone.safetensors')


def save(path: Path, seed: int = 1) -> Path:
    """Weights of a transformer with a block per level of a pyramid."""
    torch.manual_seed(seed)
    arch = dict(embed_dim=16, depth=4, num_heads=2)
    config = dict(type='mmdssl.VisionTransformer', arch=arch, patch_size=8, img_size=32)
    path.parent.mkdir(exist_ok=True)
    save_backbone(MODELS.build(config), path, config, method='PQCL', epoch=15)
    return path


class Jobs:
    """Stands in for running a command: leaves what the real tool leaves.

    Attributes:
        commands: What was run, from the tool on.
        broken: Names of jobs that fail.
        stopped: Names of jobs that end before their last evaluation.
    """

    def __init__(self):
        self.commands, self.broken, self.stopped, self.seen = [], set(), set(), {}

    def __call__(self, command, log, title, console) -> int:
        self.commands.append(command[1:])
        folder = Path(command[command.index('--work-dir') + 1])
        job = log.parent.name
        self.seen[job] = sorted(path.name for path in folder.glob('*'))
        if job in self.broken:
            log.write_text('some lines\nout of memory, or so\n')
            return 1
        config = next(Path(part) for part in command if part.endswith('.py') and 'tools' not in part)
        folder.mkdir(exist_ok=True)
        length = dict(train_cfg=dict(max_iters=LENGTH)) if 'video' not in str(config) else {}
        Config(length).dump(folder / config.name)
        (folder / 'last_checkpoint').write_text(str(folder / 'iter_10.pth'))
        (folder / 'iter_10.pth').touch()
        task = 'video-segmentation' if 'davis' in job else 'detection' if 'rcnn' in job else 'segmentation'
        if job in self.stopped:
            log.write_text('')
            return 0
        offset = {'1': 1.5, '2': -1.5}.get(job[-1], 0.) if '_seed' in job else 0.
        labels = dict(task=task, dataset_name='coco', framework='mask-rcnn-1x', backbone='vit-s/16')
        append_record(folder / 'results.jsonl', **labels,
                      metrics={name: scores['random' not in job] + offset for name, scores in SCORES[task].items()},
                      **(dict(iteration=LENGTH, epoch=0) if length else {}))
        return 0

    @property
    def names(self) -> list[str]:
        return [Path(command[command.index('--work-dir') + 1]).name for command in self.commands]


@pytest.fixture
def jobs(benchmark, monkeypatch) -> Jobs:
    jobs = Jobs()
    monkeypatch.setattr(benchmark, 'run_command', jobs)
    return jobs


@pytest.fixture
def run(benchmark, jobs, checkpoint, tmp_path):
    """Function that runs the tool and returns its exit code and the commands of this run."""

    def run(*args: str) -> tuple[int, list[str]]:
        jobs.commands.clear()
        code = benchmark.main([str(checkpoint), '--work-dir', str(tmp_path / 'out'), *args])
        return code, list(jobs.names)
    return run


QUICK = ['small_mask-rcnn_world_random', 'small_mask-rcnn_world', 'small_semfpn_world_random', 'small_semfpn_world',
         'small_davis2017_world_random', 'small_davis2017_world']


def test_quick_suite_compares_with_random_weights(run, tmp_path, capsys):
    assert run() == (0, QUICK)
    records = read_records(tmp_path / 'out/results.jsonl')
    assert [(record['job'], record['weights']) for record in records] == list(zip(QUICK, ['random', 'pretrained'] * 3))
    assert all(record['suite'] == 'quick' and record['pretrain_epochs'] == 15 for record in records)
    shown = capsys.readouterr().out
    for text in (shown, (tmp_path / 'out/table.md').read_text(), (tmp_path / 'out/table.html').read_text()):
        for number in ('20.2', '30.5', '+10.3', '-1.0', '60.0', '51.0', '-9.0'):
            assert number in text
        assert 'Detection: box AP50 +10.3 against random weights.' in text and 'Segmentation: mIoU +0.5 against' in text
        assert 'One seed each, which does not tell a gain from chance: --seeds 3 does.' in text and 'Overall' not in text


def test_seeds_give_mean_spread_and_verdicts_and_each_number_follows_from_the_records(run, jobs, tmp_path, capsys):
    code, names = run('--seeds', '3', '--cfg-options', 'small_semfpn_world.train_cfg.max_iters=7')
    assert code == 0 and names == [f'{name}{seed}' for seed in ('', '_seed1', '_seed2') for name in QUICK]
    options = [command[command.index('--cfg-options') + 1:] if '--cfg-options' in command else [] for command in jobs.commands]
    assert [each[:1] for each in options[6:9]] == [['randomness.seed=1']] * 3 and 'train_cfg.max_iters=7' in options[9]
    text, records = (tmp_path / 'out/table.md').read_text(), read_records(tmp_path / 'out/results.jsonl')
    rows = [[cell.strip(' *') for cell in line.replace('\\', '').split('|')[1:-1]] for line in text.splitlines() if line.startswith('| ')]
    names, random, ours, gains = rows[0][1:], *(row[1:] for row in rows[2:5])
    for column, *shown, gain in zip(names, random, ours, gains):
        means = []
        for weights, cell in zip(('random', 'pretrained'), shown):
            values = [record['metrics'][column.replace(' ', '_')] for record in records
                      if record['weights'] == weights and column.replace(' ', '_') in record['metrics']]
            assert len(values) == 3 and cell == f'{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}'
            means.append(float(cell.split()[0]))
        assert float(gain) == pytest.approx(means[1] - means[0])
    assert names == ['box AP50', 'mask AP50', 'mIoU', 'J&F']
    plain = text.replace('\\', '')
    assert 'Detection: these weights are better than random ones (box AP50 +10.3).' in plain
    assert 'Segmentation: these weights are no different from random ones (mIoU +0.5).' in plain
    assert 'Video-segmentation: these weights are worse than random ones (J&F -9.0).' in plain
    assert 'better than random ones on 1 of 3 tasks' in plain and 'Changed in small_semfpn_world: train_cfg.max_iters=7.' in plain
    assert run('--seeds', '3', '--cfg-options', 'small_semfpn_world.train_cfg.max_iters=7') == (0, [])


@pytest.mark.parametrize('before, after', [
    ([20., 21., 19.5], [22.5, 23., 22.1]), ([20., 21., 19.5], [20.5, 21.9, 19.]), ([20., 24., 16.], [26., 26.1, 25.9]),
    ([5.] * 3, [6., 7., 8.])])
def test_chance_is_that_of_welchs_test(benchmark, before, after):
    """Against the formula: t of unequal variances, its degrees of freedom by Welch and Satterthwaite."""
    variances = [np.var(each, ddof=1) / len(each) for each in (before, after)]
    t = (np.mean(after) - np.mean(before)) / np.sqrt(sum(variances))
    freedom = sum(variances) ** 2 / sum(each ** 2 / 2 for each in variances)
    probability = 2 * stats.t.sf(abs(t), freedom)
    assert benchmark.is_chance(before, after) == (probability >= 0.05)
    assert not benchmark.is_chance([5., 5.], [6., 6.]) and benchmark.is_chance([5., 5.], [5., 5.])


def test_commands_of_the_jobs(run, benchmark, jobs, checkpoint, tmp_path, monkeypatch):
    world = tmp_path / 'out/world'
    monkeypatch.setattr(benchmark, 'family', lambda *args: 'vit-small')  # this file has no student
    run('--amp', 'bf16', '--network', 'student', '--cfg-options', 'small_mask-rcnn_world.train_cfg.max_iters=7')
    detection = [str(ROOT / 'tools/train.py'), str(ROOT / 'configs/detection/small_mask-rcnn_world.py'), '--pretrained',
                 str(checkpoint), '--resume', '--amp', 'bf16', '--work-dir']
    assert jobs.commands[0] == [
        *detection, str(tmp_path / 'out/small_mask-rcnn_world_random'), '--data', str(world / 'coco'), '--random',
        '--cfg-options', 'train_cfg.max_iters=7']
    assert jobs.commands[1] == [
        *detection, str(tmp_path / 'out/small_mask-rcnn_world'), '--data', str(world / 'coco'),
        '--cfg-options', 'train_cfg.max_iters=7', 'model.backbone.init_cfg.network=student']
    assert '--cfg-options' not in jobs.commands[2]
    assert jobs.commands[5] == [
        str(ROOT / 'tools/test.py'), str(ROOT / 'configs/video/small_davis2017_world.py'), str(checkpoint),
        '--work-dir', str(tmp_path / 'out/small_davis2017_world'), '--data', str(world / 'davis'),
        '--cfg-options', 'model.backbone.init_cfg.network=student', 'model.amp=bf16']


def test_several_gpus_go_through_the_launch_scripts(run, jobs):
    run('--gpus', '4')
    assert jobs.commands[0][:3] == [str(ROOT / 'tools/dist_train.sh'),
                                    str(ROOT / 'configs/detection/small_mask-rcnn_world.py'), '4']
    script, _, checkpoint, gpus = jobs.commands[5][:4]
    assert script == str(ROOT / 'tools/dist_test.sh') and checkpoint.endswith('.safetensors') and gpus == '4'


def test_what_is_done_is_not_done_again(run, capsys):
    run()
    first = capsys.readouterr().out
    assert run() == (0, [])
    second = capsys.readouterr().out
    assert second.count('done before') == 6
    assert first[first.index('All tasks'):] == second[second.index('All tasks'):]
    assert run('--table-only') == (0, [])


def test_a_failure_is_shown_and_does_not_stop_the_others(run, jobs, capsys):
    jobs.broken = {'small_mask-rcnn_world'}
    assert run() == (1, QUICK)
    shown = capsys.readouterr().out
    assert 'small_mask-rcnn_world (2 of 6) failed' in shown and 'out of memory, or so' in shown
    assert 'Detection: box AP50' not in shown and 'Segmentation: mIoU' in shown
    jobs.broken = set()
    assert run() == (0, ['small_mask-rcnn_world'])
    assert 'job.json' in jobs.seen['small_mask-rcnn_world']  # it goes on where it was
    assert 'Detection: box AP50 +10.3' in capsys.readouterr().out


def test_other_weights_start_all_jobs_afresh(run, jobs, checkpoint, capsys):
    run()
    save(checkpoint, seed=2)
    capsys.readouterr()
    assert run('--table-only')[0] == 2 and 'has no results' in capsys.readouterr().err
    assert run() == (0, QUICK)
    assert all(files == ['job.json'] for files in jobs.seen.values())  # nothing to resume from


def test_another_recipe_starts_its_jobs_afresh(run, jobs):
    run()
    assert run('--cfg-options', 'small_semfpn_world.optim_wrapper.optimizer.lr=1e-3') == (0, QUICK[2:4])
    assert run('--cfg-options', 'small_semfpn_world.optim_wrapper.optimizer.lr=1e-3') == (0, [])
    jobs.broken = set(QUICK)
    assert run() == (0, [])  # the results of both recipes are kept


def test_seeds_of_another_recipe_are_not_averaged_with_those_of_this_one(run, tmp_path):
    run('--seeds', '3')
    assert ' ± ' in (tmp_path / 'out/table.md').read_text()
    run('--cfg-options', 'small_semfpn_world.train_cfg.max_iters=7')
    rows = [line for line in (tmp_path / 'out/table.md').read_text().splitlines() if 'random weights' in line]
    assert [' ± ' in cell for cell in rows[0].split('|')[2:-1]] == [True, True, False, True]


def test_a_note_of_a_job_that_was_cut_short_starts_it_afresh(run, jobs, tmp_path):
    jobs.broken = {QUICK[0]}
    run()
    (tmp_path / 'out' / QUICK[0] / 'job.json').write_text('{"sour')
    (tmp_path / 'out' / QUICK[0] / 'iter_1.pth').touch()
    jobs.broken = set()
    assert run() == (0, QUICK[:1])
    assert jobs.seen[QUICK[0]] == ['job.json']


def test_a_job_without_its_last_evaluation_has_failed(run, jobs, capsys):
    """Training goes on until it is written, so there was something else."""
    jobs.stopped = {'small_semfpn_world'}
    assert run() == (1, QUICK)
    assert 'small_semfpn_world (4 of 6) failed' in capsys.readouterr().out
    jobs.stopped = set()
    assert run() == (0, ['small_semfpn_world'])


def test_a_line_cut_short_costs_that_line_only(run, tmp_path, capsys):
    run()
    file = tmp_path / 'out/results.jsonl'
    whole = file.read_bytes()
    file.write_bytes(whole[:-40])  # killed while it was written
    capsys.readouterr()
    with pytest.warns(UserWarning, match=r'results.jsonl, line 6: this is no whole record'):
        assert run('--table-only') == (0, [])
    shown = capsys.readouterr().out
    assert 'Segmentation: mIoU' in shown and 'Video' not in shown
    with pytest.warns(UserWarning):
        assert run() == (0, QUICK[5:])
    assert file.read_bytes().count(b'\n') == 7 and 'Video-segmentation: J&F -9.0' in capsys.readouterr().out


def test_dense_suite_stands_next_to_published_rows(run, tmp_path, capsys):
    code, names = run('--suite', 'all')
    assert code == 0 and names == [
        'mask-rcnn_vit-small_1x_coco', 'cascade-mask-rcnn_vit-small_1x_coco', 'semfpn_vit-small_40k_ade20k',
        'upernet_vit-small_160k_ade20k', 'davis2017']
    shown = capsys.readouterr().out
    assert 'PQCL (run/backbone.safetensors)' in shown and 'SelfPatch' in shown and '42.1' in shown
    assert run('--suite', 'video', '--random') == (0, ['davis2017_random'])
    assert run('--suite', 'video', '--amp', 'bf16') == (0, ['davis2017'])
    assert '[1] with model.amp=bf16\n' in capsys.readouterr().out


@pytest.mark.parametrize('kind', ['vit-small', 'vit-base', 'resnet50'])
def test_configs_of_the_suites_exist_and_are_told_apart_in_tables(benchmark, kind):
    labels = set()
    for job in benchmark.plan('all', False, kind):
        record = Config.fromfile(job.file).default_hooks.record
        labels.add((record['task'], record['dataset'], record.get('framework')))
    assert len(labels) == len(benchmark.plan('all', False, kind))


@pytest.mark.parametrize('backbone, kind', [
    (dict(type='mmdssl.VisionTransformer', arch='small'), 'vit-small'),
    (dict(type='mmdssl.VisionTransformer', arch=dict(embed_dim=768, depth=12, num_heads=12)), 'vit-base'),
    (dict(type='mmdet.ResNet', depth=50), 'resnet50')])
def test_configs_follow_from_the_network(benchmark, monkeypatch, backbone, kind):
    monkeypatch.setattr('mmdssl.checkpoint.backbone_config', lambda *args: backbone)
    assert benchmark.family(Path('x.pth'), None) == kind


def test_what_cannot_work_is_said_before_anything_runs(run, benchmark, jobs, tmp_path, monkeypatch, capsys):
    (tmp_path / 'some/coco').mkdir(parents=True)
    wrong = {
        ('--data', str(tmp_path / 'some')): "has no folder 'ade20k'",
        ('--gpus', '0'): '--gpus must be at least 1',
        ('--seeds', '0'): '--seeds must be at least 1',
        ('--cfg-options', 'train_cfg.max_iters=7'): 'with one of small_mask-rcnn_world, small_semfpn_world',
        ('--table-only', ): 'leave --table-only out',
    }
    for args, message in wrong.items():
        assert run(*args) == (2, []) and message in capsys.readouterr().err
    assert benchmark.main([str(tmp_path / 'none.pth')]) == 2
    assert 'none.pth' in capsys.readouterr().err
    monkeypatch.setattr('mmdssl.checkpoint.backbone_config', lambda *args: dict(type='mmdet.ResNet', depth=50))
    assert run() == (2, []) and 'use --suite dense or video' in capsys.readouterr().err
    monkeypatch.setattr('mmdssl.checkpoint.backbone_config', lambda *args: dict(type='mmdet.ResNet', depth=18))
    assert run() == (2, []) and 'holds a resnet18' in capsys.readouterr().err
    assert not jobs.commands


def test_a_folder_of_something_else_is_left_alone(run, tmp_path, capsys):
    precious = tmp_path / 'out/small_mask-rcnn_world_random/epoch_12.pth'
    precious.parent.mkdir(parents=True)
    precious.touch()
    assert run() == (2, []) and 'holds something else' in capsys.readouterr().err
    assert precious.exists()


def test_output_of_a_command_is_kept_and_its_exit_code_returned(benchmark, tmp_path):
    console = benchmark.Console(file=open(os.devnull, 'w'))
    command = [sys.executable, '-c', 'import sys; print("out"); print("err", file=sys.stderr); sys.exit(3)']
    assert benchmark.run_command(command, tmp_path / 'log.txt', 'job', console) == 3
    assert sorted((tmp_path / 'log.txt').read_text().split()) == ['err', 'out']


def test_a_job_and_its_children_end_with_the_benchmark(benchmark, tmp_path, monkeypatch):
    """If they did not, this would wait for them."""
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt
    monkeypatch.setattr('rich.status.Status.update', interrupt)
    console = benchmark.Console(file=open(os.devnull, 'w'))
    reader, writer = os.pipe()  # which is at its end when all who can write have ended
    os.set_inheritable(writer, True)
    monkeypatch.setattr(benchmark.subprocess, 'Popen', functools.partial(subprocess.Popen, close_fds=False))
    with pytest.raises(KeyboardInterrupt):
        benchmark.run_command(['bash', '-c', 'sleep 3600 & echo begun; wait'], tmp_path / 'log.txt', 'job', console)
    os.close(writer)
    with open(reader) as file:
        assert file.read() == ''
    assert (tmp_path / 'log.txt').read_text() == 'begun\n'


def test_the_frozen_suite_measures_each_protocol_on_its_part_of_a_world(benchmark, run, jobs, tmp_path, monkeypatch, capsys):
    made = {}
    monkeypatch.setattr('mmdssl.datasets.sample_world.make_sample_world', lambda root, **kwargs: made.update({root.name: kwargs}))
    configs = [Path(config).name for config in benchmark.FROZEN]
    names = [name for config in configs for name in (f'{config}_random', config)]
    assert run('--suite', 'frozen') == (0, names)
    for command, folder in zip(jobs.commands, (folder for folder in benchmark.FROZEN.values() for _ in range(2))):
        assert command[command.index('--data') + 1] == str(tmp_path / 'out/frozen_world' / folder)
    parts = dict(benchmark.WORLDS['frozen'], davis=benchmark.WORLDS['frozen']['clips'])
    assert made == dict(frozen_world=benchmark.WORLDS['frozen']) and all(np.any(parts[folder]) for folder in benchmark.FROZEN.values())
    shown = capsys.readouterr().out
    row = next(line for line in shown.splitlines() if 'small_davis2017_world: J&F' in line).replace('│', ' ').split()
    assert 'Frozen features' in shown and row[2:5] == ['60.0', '51.0', '-9.0']
    # A job of two suites is run for each, and in both tables.
    assert run() == (0, QUICK) and 'small_davis2017_world: J&F' in capsys.readouterr().out


def test_precision_is_set_where_a_config_has_it(benchmark, run, jobs, tmp_path, monkeypatch):
    monkeypatch.setattr('mmdssl.datasets.sample_world.make_sample_world', lambda root, **kwargs: None)
    assert run('--suite', 'frozen', '--amp', 'bf16')[0] == 0
    given = {Path(command[1]).stem: command for command in jobs.commands if '--random' not in command}
    for config, option in (('small_ridge_world', 'test_cfg.amp=bf16'), ('small_vip_world', 'model.amp=bf16'), ('small_lost_world', None)):
        assert [each for each in given[config] if each.endswith('amp=bf16')] == ([option] if option else []), config


def test_configs_of_the_frozen_suite_exist_and_read_the_folders_that_they_are_given(benchmark):
    for config, folder in benchmark.FROZEN.items():
        cfg = Config.fromfile(benchmark.Job(config, 'frozen', False).file)
        assert Path(cfg.test_dataloader.dataset.data_root).name == folder, config


def test_the_quick_suite_for_real(checkpoint, tmp_path):
    """Two iterations of each training, on a handful of images."""
    make_sample_world(tmp_path / 'world', train=10, val=10, size=16, coco=(8, 2), ade20k=(4, 2), clips=(0, 1), frames=3,
                      workers=1)
    options = [f'{config}.{option}' for config in ('small_mask-rcnn_world', 'small_semfpn_world') for option in (
        'train_cfg.max_iters=2', 'train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False',
        'val_dataloader.num_workers=0', 'val_dataloader.persistent_workers=False')]
    out = tmp_path / 'out'
    done = subprocess.run(
        [sys.executable, str(TOOL), str(checkpoint), '--work-dir', str(out), '--data', str(tmp_path / 'world'),
         '--cfg-options', *options, 'small_davis2017_world.test_dataloader.num_workers=0'],
        capture_output=True, text=True, env=dict(os.environ, OMP_NUM_THREADS='1'))
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-4000:]
    records = {record['job']: record for record in read_records(out / 'results.jsonl')}
    assert list(records) == QUICK
    for random, pretrained in zip(QUICK[::2], QUICK[1::2]):
        assert 'pretrained' not in records[random]
        assert records[pretrained]['pretrained']['path'] == str(checkpoint)
        assert records[random]['checkpoint'] != records[pretrained]['checkpoint']
        assert records[random]['dataset'] == records[pretrained]['dataset']
    row = next(line for line in done.stdout.splitlines() if 'PQCL (run/backbone.safetensors)' in line)
    shown = [f'{records[job]["metrics"][name]:.1f}' for job, name in (
        (QUICK[1], 'box_AP50'), (QUICK[1], 'mask_AP50'), (QUICK[3], 'mIoU'), (QUICK[5], 'J&F'))]
    assert row.replace('│', ' ').split()[-4:] == shown
    assert json.loads((out / QUICK[0] / 'job.json').read_text())['source'] == records[QUICK[0]]['source']


@pytest.fixture
def class_folders(tmp_path) -> Path:
    """Three classes of images of 32 px, each of another pattern, 8 and 4 of each."""
    rng = np.random.default_rng(0)
    for part, each in (('train', 8), ('val', 4)):
        for i, name in enumerate(('dots', 'lines', 'noise')):
            folder = tmp_path / 'data' / part / name
            folder.mkdir(parents=True)
            for number in range(each):
                pixels = rng.integers(0, 90, (32, 32, 3), dtype=np.uint8)
                pixels[::2 + i, ::(1, 5, 32)[i]] += 150
                Image.fromarray(pixels).save(folder / f'{number}.png')
    return tmp_path / 'data'


def test_the_image_suite_for_real(benchmark, load_tool, checkpoint, class_folders, tmp_path, monkeypatch, capsys):
    """In this process; features of each weights are computed once."""
    monkeypatch.setattr(benchmark, 'run_command', lambda command, log, title, console: load_tool(
        Path(command[1]).stem).main(command[2:]))
    jobs = benchmark.plan('image', False, 'small')
    workers = [f'{job.file.stem}.{loader}.{option}' for job in jobs if not job.random for loader, option in (
        [(loader, option) for loader in ('train_dataloader', 'val_dataloader') for option in (
            'batch_size=8', 'num_workers=0', 'persistent_workers=False')] if job.trains else
        [('test_dataloader', 'num_workers=0'), ('test_cfg.bank', 'num_workers=0')])]
    few = ['knn.test_evaluator.k=[1,3]', 'cost.test_evaluator.size=32', 'cost.test_evaluator.batch_size=2',
           'logistic_1percent.test_cfg.bank.dataset.fraction=0.25', 'logistic_10percent.test_cfg.bank.dataset.fraction=0.5',
           'clustering.test_evaluator.draws=2', 'small_linear.train_cfg.max_epochs=1', 'small_finetune.train_cfg.max_epochs=2']
    arguments = [str(checkpoint), '--suite', 'image', '--data', str(class_folders), '--work-dir', str(tmp_path / 'out')]
    assert benchmark.main([*arguments, '--cfg-options', *workers, *few]) == 0
    assert len(list((tmp_path / 'out/features').iterdir())) == 8  # of two networks the queries, and banks of all, many and few labels
    records = read_records(tmp_path / 'out/results.jsonl')
    assert [record['job'] for record in records] == [job.name for job in jobs]
    assert all(record['seconds'] > 0 and record['suite'] == 'image' for record in records)
    random, pretrained = records[:2]
    shown = capsys.readouterr().out
    assert 'Frozen features, data, vit-4x16/8' in shown
    line = next(line for line in shown.splitlines() if 'knn: knn1 top1' in line).replace('│', ' ').split()
    values = [record['metrics']['knn1_top1'] for record in (random, pretrained)]
    assert line[3:6] == [f'{values[0]:.1f}', f'{values[1]:.1f}', f'{values[1] - values[0]:+.1f}']
    for protocol in ('linear_features: linear top1', 'logistic: logistic top1', 'clustering: nmi', 'cost: gflops', 'small_finetune: top1'):
        assert protocol in shown


def test_other_images_in_the_same_folder_are_measured_anew(run, jobs, class_folders, capsys):
    image = ['--suite', 'image', '--data', str(class_folders)]
    code, first = run(*image)
    assert code == 0 and len(first) == 18 and run(*image) == (0, [])
    file = next(class_folders.glob('val/*/0.png'))
    Image.new('RGB', (32, 32)).save(file)
    assert run(*image) == (0, first)
    assert run(*image) == (0, [])
    shutil.rmtree(class_folders)
    assert run(*image, '--table-only') == (0, [])  # which needs no images


def test_the_image_suite_wants_two_parts(run, class_folders, capsys):
    shutil.rmtree(class_folders / 'val')
    assert run('--suite', 'image', '--data', str(class_folders)) == (2, [])
    assert "has no folder 'val': put or link the data set there" in capsys.readouterr().err
