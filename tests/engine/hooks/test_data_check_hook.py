from __future__ import annotations

from types import SimpleNamespace

import pytest
from mmengine.dataset import RepeatDataset
from torch import nn

from mmdssl.engine.hooks import DataCheckHook, data_check_hook
from mmdssl.errors import InputError


def runner_on(train, val=None, model=None):
    log = []
    return SimpleNamespace(model=model or nn.Module(), val_loop=val, train_dataloader=SimpleNamespace(dataset=train),
                           val_dataloader=SimpleNamespace(dataset=val), logger=SimpleNamespace(warning=log.append), log=log)


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


def test_a_head_for_fewer_classes_than_the_data_has_stops_a_run(make_coco):
    dataset = make_coco()
    for num_classes in (2, 80):
        model = nn.ModuleDict(dict(bbox_head=nn.Module(), rpn_head=nn.Module()))
        model['bbox_head'].num_classes, model['rpn_head'].num_classes = num_classes, 1
        DataCheckHook().before_train(runner_on(dataset, model=model))
    model['bbox_head'].num_classes = 1
    with pytest.raises(InputError, match='model.bbox_head has num_classes=1, but the training data has 2 classes'):
        DataCheckHook().before_train(runner_on(dataset, model=model))


def test_other_processes_stop_with_the_first(make_coco, monkeypatch):
    monkeypatch.setattr(data_check_hook, 'is_main_process', lambda: False)
    monkeypatch.setattr(data_check_hook, 'broadcast_object_list', lambda data: data.__setitem__(0, 'no image'))
    with pytest.raises(InputError, match='no image'):
        DataCheckHook().before_train(runner_on(make_coco()))
