from __future__ import annotations

from types import SimpleNamespace

import pytest
from mmengine.logging import MessageHub

from mmdssl.engine.hooks import SkippedImagesHook
from mmdssl.errors import InputError


class Log(list):
    warning = list.append


@pytest.fixture
def run():
    """Function that shows the hook a batch with some skipped files, in a run of 100 images."""
    log = Log()
    cfg = dict(custom_hooks=[dict(type='AlgorithmHook'), dict(type='mmdssl.SkippedImagesHook')])
    runner = SimpleNamespace(iter=0, logger=log, cfg=cfg, message_hub=MessageHub('skipped'),
                             train_dataloader=SimpleNamespace(dataset=range(100), __len__=lambda: 10))

    def step(hook: SkippedImagesHook, *skipped: str) -> Log:
        hook.end_of_epoch = lambda *args: False
        hook.after_train_iter(runner, 0, data_batch=SimpleNamespace(skipped=list(skipped)))
        return log
    step.runner = runner
    return step


def test_every_file_is_named_once_with_a_running_count(run):
    hook = SkippedImagesHook(max_share=0.1, interval=1)
    run(hook, 'b.jpg', 'a.jpg', 'b.jpg')
    log = run(hook, 'a.jpg', 'c.jpg')
    assert [line.split(' cannot')[0] for line in log] == ['a.jpg', 'b.jpg', 'c.jpg']
    assert [line.split('(')[1] for line in log] == ['1 so far)', '2 so far)', '3 so far)']


def test_too_many_bad_files_stop_the_run(run):
    hook = SkippedImagesHook(max_share=0.02, interval=1)
    run(hook, 'a.jpg', 'b.jpg')
    run(hook, 'a.jpg')
    with pytest.raises(InputError, match='3 of 100 images cannot .*a.jpg, b.jpg, c.jpg.*or allow more .*custom_hooks.1.max_share='):
        run(hook, 'c.jpg')


def test_two_of_a_small_folder_may_be_bad(run):
    hook = SkippedImagesHook(interval=1)
    run(hook, 'a.jpg', 'b.jpg')
    with pytest.raises(InputError, match='3 of 100 images'):
        run(hook, 'c.jpg')


def test_a_resumed_run_remembers(run):
    run(SkippedImagesHook(max_share=0.02, interval=1), 'a.jpg', 'b.jpg')
    checkpoint = run.runner.message_hub.state_dict()
    run.runner.message_hub = MessageHub('resumed')
    run.runner.message_hub.load_state_dict(checkpoint)
    resumed = SkippedImagesHook(max_share=0.02, interval=1)
    resumed.before_train(run.runner)
    assert len(run(resumed, 'a.jpg')) == 2  # named once
    with pytest.raises(InputError, match='3 of 100 images .*a.jpg, b.jpg, c.jpg'):
        run(resumed, 'c.jpg')
