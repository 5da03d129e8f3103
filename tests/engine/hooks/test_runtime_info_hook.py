from __future__ import annotations

import torch
from mmengine.hooks import Hook
from toy import history

from mmdssl.engine.hooks import RuntimeInfoHook
from mmdssl.registry import HOOKS


@HOOKS.register_module()
class CountReadsHook(Hook):
    """Notes in which iterations a value of the losses is brought to the host."""

    def before_train(self, runner):
        self.reads, original = [], torch.Tensor.tolist
        self.restore = lambda: setattr(torch.Tensor, 'tolist', original)

        def tolist(tensor):
            self.reads.append((runner.iter, tensor.numel()))
            return original(tensor)
        torch.Tensor.tolist = tolist

    def after_train(self, runner):
        self.restore()


def test_losses_are_read_only_when_they_are_logged(train):
    """24 iterations an epoch, logged every 10: one read of everything since the last, none in between."""
    runner = train(**{'train_dataloader.batch_size': 1, 'train_cfg.max_epochs': 1, 'default_hooks.logger.interval': 10,
                      'custom_hooks': [dict(type='AlgorithmHook'), dict(type='CountReadsHook')]})
    hook, = (hook for hook in runner.hooks if isinstance(hook, CountReadsHook))
    names = 3  # loss, loss_cls, entropy
    assert [read for read in hook.reads if read[1] >= names] == [(9, 10 * names), (19, 10 * names), (23, 4 * names)]
    assert len(history(runner)) == 24


def test_a_run_that_is_shorter_than_the_interval_is_logged(train):
    runner = train(**{'train_dataloader.batch_size': 1, 'train_cfg.max_epochs': 1, 'default_hooks.logger.interval': 50,
                      'custom_hooks': [dict(type='AlgorithmHook'), dict(type='CountReadsHook')]})
    hook, = (hook for hook in runner.hooks if isinstance(hook, CountReadsHook))
    assert [iteration for iteration, number in hook.reads if number >= 3] == [11, 23]


def test_no_value_is_lost_or_changed(train):
    every, seldom = (train(name=str(n), **{'default_hooks.logger.interval': n}) for n in (1, 4))
    assert history(every) == history(seldom)
    assert history(every, 'entropy') == history(seldom, 'entropy')


def test_the_history_is_bounded(train, monkeypatch):
    monkeypatch.setattr('mmdssl.engine.hooks.runtime_info_hook.HISTORY', 5)
    for window in (5, 7):
        runner = train(str(window), **{'log_processor.window_size': window})
        assert len(history(runner)) == len(history(runner, 'time')) == window


def test_kept_values_do_not_keep_the_graph():
    hook = RuntimeInfoHook()
    hook._intervals = []
    value = torch.ones((), requires_grad=True) * 2

    class Runner:
        train_dataloader = range(9)
    hook.after_train_iter(Runner, 0, outputs=dict(loss=value, number=3.))
    assert not hook._values[0].requires_grad and hook._values[0].tolist() == [2., 3.]
