"""Whole runs of classification from the command line: probe and fine-tuning, on two processes, stopped and resumed, of wrong data."""
from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from PIL import Image
from processes import load_tool, run_tool, start

from mmdssl.checkpoint import load_backbone, save_backbone
from mmdssl.registry import HOOKS, MODELS
from mmdssl.results.records import read_records

ROOT = Path(__file__).parents[2]
SMALL = dict(type='mmdssl.VisionTransformer', arch=dict(embed_dim=24, depth=4, num_heads=2), patch_size=8, img_size=32, position='sincos',
             mask_token=True)
CONFIG = """
_base_ = '{root}/configs/classification/small_{kind}.py'
train_dataloader = dict(batch_size=8, num_workers=0, dataset=dict(views=dict(global_=dict(size=32))))
val_dataloader = test_dataloader = dict(batch_size=8, num_workers=0, dataset=dict(resize=32, size=32))
train_cfg = dict(max_epochs=3)
default_hooks = dict(logger=dict(interval=1))
visualizer = None
auto_scale_lr = dict(enable=False)
"""
PROBE = CONFIG + """
model = dict(rates=[0.03, 1.0])
train_dataloader['dataset']['dataset'] = dict(fraction=0.75)
custom_hooks = [dict(type='AlgorithmHook'), dict(type='StopOnceHook')]
"""
FINETUNE = CONFIG + """
model = dict(backbone=dict(drop_path_rate=0.3), erasing=0.5)
train_dataloader.update(sampler=dict(repeats=3))
custom_hooks = [dict(type='AlgorithmHook'), dict(type='StopOnceHook')]
"""
# Without what each process draws for itself.
ALONE = CONFIG + """
model = dict(backbone=dict(drop_path_rate=0.0), mixup=0.0, cutmix=0.0, erasing=0.0)
optim_wrapper = dict(_delete_=True, type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1))
param_scheduler = []
"""


@HOOKS.register_module()
class StopOnceHook(Hook):
    """Asks the run to end in the middle of its second epoch, unless it was resumed or that is not wanted."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.epoch == 1 and batch_idx == 0 and Path(runner.work_dir).name == 'stopped' and not runner._resume:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """Three classes, 8 and 4 images of each, of stripes of other widths; one cannot be decoded."""
    root = tmp_path_factory.mktemp('stripes') / 'stripes'
    for part, number in (('train', 8), ('val', 4)):
        for width, name in enumerate(('fine', 'middle', 'wide'), start=1):
            (root / part / name).mkdir(parents=True)
            for i in range(number):
                draw = np.random.default_rng([i, width, number])
                pixels = draw.integers(0, 60, (40, 40, 3)) + 150 * (np.arange(40) // (3 * width) % 2)[:, None, None]
                Image.fromarray(pixels.astype(np.uint8)).save(root / part / name / f'{i}.png')
    (root / 'val/fine/broken.png').write_bytes(b'none')
    return root


@pytest.fixture(scope='module')
def backbone(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp('weights') / 'backbone.safetensors'
    torch.manual_seed(1)  # not what a run of seed 0 starts from
    save_backbone(MODELS.build(SMALL), path, SMALL)
    return path


def config(place: Path, text: str, kind: str) -> Path:
    path = place / 'config.py'
    path.write_text(text.format(root=ROOT, kind=kind))
    return path


def weights(work_dir: Path) -> dict[str, torch.Tensor]:
    return torch.load(work_dir / 'epoch_3.pth', weights_only=False)['state_dict']


def results(work_dir: Path) -> list[dict]:
    return [record['metrics'] for record in read_records(work_dir / 'results.jsonl')]


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.fixture(scope='module')
def probed(folder, backbone, tmp_path_factory) -> tuple[tuple, Path]:
    """The arguments of a probe on three quarters of the labels, and the work dir where it has run on one process."""
    place = tmp_path_factory.mktemp('probe')
    args = (config(place, PROBE, 'linear'), '--data', folder, '--pretrained', backbone)
    run_tool('train', *args, '--work-dir', place / 'one')
    return args, place / 'one'


def test_the_record_of_a_linear_probe(probed, backbone):
    record, metrics, trained = read_records(probed[1] / 'results.jsonl')[-1], results(probed[1]), weights(probed[1])
    assert record['task'] == 'linear' and record['epoch'] == 3 and record['dataset_name'] == 'stripes'
    assert record['labels'] == '18 of 24 images, as many of each class, drawn with seed 0'
    assert record['pretrained']['path'] == str(backbone) and record['backbone'] == 'vit-4x24/8'
    best = max(range(3), key=lambda epoch: metrics[epoch]['top1'])
    assert metrics[-1]['best_top1'] == metrics[best]['top1'] and metrics[-1]['best_epoch'] == best + 1
    assert metrics[-1]['best_head_lr'] == metrics[best]['head_lr'] in (0.03, 1) and metrics[-1]['head_norm'] in (0, 1)
    loaded = load_backbone(backbone).state_dict()
    loaded.pop('mask_token')
    assert same({name: trained[f'backbone.{name}'] for name in loaded}, loaded), 'the backbone is frozen'
    assert sum(name.endswith('weight') for name in trained if name.startswith('heads.linear')) == 4


def test_a_linear_probe_on_two_processes(probed, tmp_path):
    run_tool('train', *probed[0], '--work-dir', tmp_path / 'two', '--cfg-options', 'train_dataloader.batch_size=4', processes=2)
    trained = weights(probed[1])
    for name, tensor in weights(tmp_path / 'two').items():
        torch.testing.assert_close(tensor, trained[name], rtol=1e-4, atol=1e-5)
    best = [[found['best_top1'] for found in results(place)] for place in (tmp_path / 'two', probed[1])]
    assert best[0] == pytest.approx(best[1])


def test_fine_tuning_on_two_processes_and_its_test(folder, backbone, tmp_path):
    args = (config(tmp_path, ALONE, 'finetune'), '--data', folder, '--pretrained', backbone)
    run_tool('train', *args, '--work-dir', tmp_path / 'one')
    run_tool('train', *args, '--work-dir', tmp_path / 'two', '--cfg-options', 'train_dataloader.batch_size=4', processes=2)
    one, two = weights(tmp_path / 'one'), weights(tmp_path / 'two')
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=1e-5)
    assert not torch.equal(one['backbone.blocks.0.attn.qkv.weight'], load_backbone(backbone).blocks[0].attn.qkv.weight)
    assert not torch.equal(one['ema.module.1.weight'], one['head.weight'])
    run_tool('test', tmp_path / 'one/config.py', tmp_path / 'one/epoch_3.pth', '--work-dir', tmp_path / 'test')
    last = results(tmp_path / 'one')[-1]
    assert results(tmp_path / 'test')[-1] == {name: last[name] for name in ('top1', 'ema_top1')}


def goes_on(args: tuple, whole: Path, stopped: Path) -> None:
    """A run that is stopped in its second epoch and resumed has the weights and results of the whole one."""
    again = [*map(str, args), '--work-dir', str(stopped)]
    first = start(lambda: load_tool('train').main(again))[0]
    assert first.wait() == os.EX_TEMPFAIL, first.output()
    assert len(results(stopped)) == 1
    run_tool('train', *again, '--resume')
    assert same(weights(stopped), weights(whole)) and results(stopped) == results(whole)


def test_a_stopped_probe_goes_on_to_the_same_weights(probed, tmp_path):
    goes_on(*probed, tmp_path / 'stopped')


def test_a_stopped_fine_tuning_goes_on_to_the_same_weights(folder, backbone, tmp_path):
    """With erasing, mixup, CutMix, dropped paths, repeated images and a moving average."""
    args = (config(tmp_path, FINETUNE, 'finetune'), '--data', folder, '--pretrained', backbone)
    run_tool('train', *args, '--work-dir', tmp_path / 'whole')
    goes_on(args, tmp_path / 'whole', tmp_path / 'stopped')


def test_wrong_inputs_are_sentences(folder, backbone, tmp_path, capsys):
    def fails(*args) -> str:
        assert load_tool('train').main([str(config(tmp_path, PROBE, 'linear')), '--pretrained', str(backbone), '--work-dir',
                                        str(tmp_path / 'wrong'), *map(str, args)]) == 2
        return capsys.readouterr().err
    more = shutil.copytree(folder, tmp_path / 'more')
    shutil.copytree(more / 'val/fine', more / 'val/other')
    assert f"other, which the training data '{more}/train' lacks" in fails('--data', more)
    assert 'has 3 classes and the model 2' in fails('--data', folder, '--cfg-options', 'model.num_classes=2')
    wide = dict(SMALL, arch=dict(embed_dim=48, depth=4, num_heads=2))
    save_backbone(MODELS.build(wide), tmp_path / 'wide.safetensors', wide)
    init = f"model.backbone.init_cfg.checkpoint={tmp_path / 'wide.safetensors'}"
    assert 'embed_dim is 48 in the file and 24 in the backbone' in fails('--data', folder, '--cfg-options', init)
