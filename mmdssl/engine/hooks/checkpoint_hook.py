"""When checkpoints are written and deleted."""
from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mmengine import hooks
from mmengine.dist import is_main_process
from mmengine.runner import Runner

from mmdssl.checkpoint.files import whole_file
from mmdssl.registry import HOOKS

INTERRUPTED = 'interrupted.pth'


@HOOKS.register_module()
class CheckpointHook(hooks.CheckpointHook):
    """MMEngine's hook in an order that a crash cannot spoil.

    The new checkpoint is written first, then the note that names it, and only then are old ones deleted. Every checkpoint lists those
    that were to be deleted after it, so that a resumed run deletes what a killed one could not. What no checkpoint of this run lists
    (copies under other names, files of another run in the same folder) is never deleted; of half-written files, those that only this
    hook and :class:`ExportBackboneHook` write. A run that is stopped between two checkpoints leaves ``interrupted.pth``, which the
    next one replaces.
    """
    _saved_at: int | None = None

    def before_train(self, runner: Runner) -> None:
        hub = runner.message_hub
        steps = hub.pop_info('keep_ckpt_ids', [])  # in old checkpoints, and in those of MMEngine
        hub._resumed_keys.pop('keep_ckpt_ids', None)
        super().before_train(runner)
        self._kept = self._of_this_hook(hub.get_info('kept_ckpts', [self.filename_tmpl.format(step) for step in steps]))
        self._outdated = self._of_this_hook(hub.get_info('outdated_ckpts', []))
        self.last_ckpt = self._here(hub.get_info('last_ckpt'))
        if self.save_best and len(self.key_indicators) == 1:
            self.best_ckpt_path = self._here(self.best_ckpt_path)
        elif self.save_best:
            self.best_ckpt_path_dict = {name: self._here(path) for name, path in self.best_ckpt_path_dict.items()}
        self._remove_outdated()
        if is_main_process():
            self._remove_partial({Path(runner.work_dir), Path(self.out_dir)})

    @property
    def _names(self) -> str:
        """A pattern of the names that this hook gives to files."""
        regular = re.escape(self.filename_tmpl).replace(re.escape('{}'), '[0-9]+')
        return rf'({regular}|best_[^/]+\.pth|{re.escape(INTERRUPTED)})'

    def _of_this_hook(self, names: Any) -> list[str]:
        """Of names in a checkpoint, those of files that are this hook's to delete."""
        return [name for name in names if isinstance(name, str) and re.fullmatch(self._names, name)] if isinstance(names, list) else []

    def _here(self, path: Any) -> str | None:
        """A file of this run, also after its folder was moved or copied."""
        found = self._of_this_hook([Path(path).name]) if isinstance(path, str) else []
        return self.file_backend.join_path(self.out_dir, found[0]) if found else None

    def after_val_epoch(self, runner: Runner, metrics: dict) -> None:
        runner.message_hub.update_info('evaluated', runner.iter)
        super().after_val_epoch(runner, metrics)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        hub, name = runner.message_hub, self.filename_tmpl.format(step)
        if self.max_keep_ckpts > 0:
            kept = [*(kept for kept in self._kept if kept != name), name]
            self._outdated += kept[:-self.max_keep_ckpts]
            self._kept = kept[-self.max_keep_ckpts:]
            hub.update_info('kept_ckpts', self._kept)
        hub.update_info('outdated_ckpts', self._outdated)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(self.out_dir, name, save_optimizer=self.save_optimizer,
                               save_param_scheduler=self.save_param_scheduler, meta=meta, by_epoch=self.by_epoch,
                               backend_args=self.backend_args, **self.args)
        self._saved_at = meta['iter']
        if is_main_process():
            self._note(runner, self.last_ckpt)
        self._outdated.append(INTERRUPTED)
        self._remove_outdated(name)

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
        before = list(self._outdated)
        if previous:
            self._outdated.append(Path(previous).name)
        super()._save_best_checkpoint(runner, metrics)
        if self.best_ckpt_path is None:
            self.best_ckpt_path, self._outdated = previous, before
        else:
            self._remove_outdated()

    def _remove_outdated(self, *new: str) -> None:
        in_use = {*new, *self._kept, Path(getattr(self, 'best_ckpt_path', None) or '').name}
        for name in self._outdated:
            path = self.file_backend.join_path(self.out_dir, name)
            if is_main_process() and name not in in_use and self.file_backend.isfile(path):
                self.file_backend.remove(path)
        self._outdated = []

    def _remove_partial(self, folders: set[Path]) -> None:
        """What a process left that was killed while it wrote."""
        ours = re.compile(rf'\.({self._names}|last_checkpoint|backbone\.safetensors)\.partial')
        for folder in folders:
            for path in folder.glob('.*.partial'):
                if ours.fullmatch(path.name):
                    path.unlink(missing_ok=True)
