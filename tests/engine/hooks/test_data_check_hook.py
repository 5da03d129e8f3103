from __future__ import annotations

from types import SimpleNamespace

import pytest
from mmengine.dataset import RepeatDataset

from mmdssl.engine.hooks import DataCheckHook, data_check_hook
from mmdssl.errors import InputError


def runner_on(train, val=None):
    log = []
    return SimpleNamespace(train_dataloader=SimpleNamespace(dataset=train), val_dataloader=SimpleNamespace(dataset=val),
                           val_loop=val, logger=SimpleNamespace(warning=log.append), log=log)


def no_area(coco):
    coco['annotations'][0]['area'] = 0


def test_wrong_annotations_are_named_once_in_a_run(make_coco):
    runner, hook = runner_on(make_coco(no_area), make_coco(test_mode=True)), DataCheckHook()
    hook.before_train(runner)
    hook.before_val(runner)
    assert len(runner.log) == 2
    assert 'are left out: 1 without area (id 10)' in runner.log[0]
    assert 'may lower the scores: 1 without area' in runner.log[1]


def test_missing_images_stop_a_run_before_it_starts(make_coco, coco_root):
    train, val = RepeatDataset(make_coco(), 2), make_coco(data_prefix=dict(img='elsewhere'))
    with pytest.raises(InputError, match='4 of the 4 images of .* first .*elsewhere/0.png'):
        DataCheckHook().before_train(runner_on(train, val))
    runner = SimpleNamespace(test_dataloader=SimpleNamespace(dataset=val))
    with pytest.raises(InputError, match='4 of the 4 images'):
        DataCheckHook().before_test(runner)


def test_other_processes_stop_with_the_first(make_coco, monkeypatch):
    monkeypatch.setattr(data_check_hook, 'is_main_process', lambda: False)
    monkeypatch.setattr(data_check_hook, 'broadcast_object_list', lambda data: data.__setitem__(0, 'no image'))
    with pytest.raises(InputError, match='no image'):
        DataCheckHook().before_train(runner_on(make_coco()))
