"""When checkpoints are written and deleted."""
from __future__ import annotations

from pathlib import Path

from mmengine import hooks
from mmengine.dist import is_main_process
from mmengine.runner import Runner

from mmdssl.checkpoint.files import whole_file
from mmdssl.registry import HOOKS

INTERRUPTED = 'interrupted.pth'


@HOOKS.register_module()
class CheckpointHook(hooks.CheckpointHook):
    """MMEngine's hook in an order that a crash cannot spoil.

    The new checkpoint is written first, then the note that names it, and only then is an old one deleted. A run that is
    stopped between two checkpoints leaves ``interrupted.pth``, which the next one replaces.
    """
    _saved_at: int | None = None

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        outdated = []
        if self.max_keep_ckpts > 0:
            kept = [kept for kept in self.keep_ckpt_ids if kept != step] + [step]
            outdated, kept = kept[:-self.max_keep_ckpts], kept[-self.max_keep_ckpts:]
            self.keep_ckpt_ids.clear()
            self.keep_ckpt_ids.extend(kept)
            runner.message_hub.update_info('keep_ckpt_ids', kept)
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(self.out_dir, name, save_optimizer=self.save_optimizer,
                               save_param_scheduler=self.save_param_scheduler, meta=meta, by_epoch=self.by_epoch,
                               backend_args=self.backend_args, **self.args)
        self._saved_at = meta['iter']
        if is_main_process():
            self._note(runner, self.last_ckpt)
            self._remove(self.file_backend.join_path(self.out_dir, INTERRUPTED))
            for old in outdated:
                self._remove(self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(old)))

    def save_now(self, runner: Runner, iteration: int) -> None:
        """Save after ``iteration`` iterations of the run, which need not be the end of anything; every process calls this."""
        if self._saved_at == iteration:
            return
        runner.save_checkpoint(self.out_dir, INTERRUPTED, save_optimizer=True, save_param_scheduler=True,
                               meta=dict(epoch=runner.epoch, iter=iteration), by_epoch=False, backend_args=self.backend_args,
                               **self.args)
        if is_main_process():
            self._note(runner, self.file_backend.join_path(self.out_dir, INTERRUPTED))

    @staticmethod
    def _note(runner: Runner, checkpoint: str) -> None:
        with whole_file(Path(runner.work_dir, 'last_checkpoint')) as note:
            note.write_text(checkpoint)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        if not self.save_best or len(self.key_indicators) > 1:
            super()._save_best_checkpoint(runner, metrics)
            return
        previous, self.best_ckpt_path = self.best_ckpt_path, None
        super()._save_best_checkpoint(runner, metrics)
        if self.best_ckpt_path is None:
            self.best_ckpt_path = previous
        elif previous and previous != self.best_ckpt_path and is_main_process():
            self._remove(previous)

    def _remove(self, path: str) -> None:
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)
