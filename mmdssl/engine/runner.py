"""MMEngine's runner with checkpoints that survive a crash, and a learning rate that follows the real batch."""
from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine import runner as base
from mmengine.device import get_device
from mmengine.dist import is_distributed, master_only
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmengine.runner.checkpoint import _load_checkpoint_to_model
from timm.layers import convert_sync_batchnorm
from timm.models.vision_transformer import Block
from torch import nn
from torch.utils.data import DataLoader

from mmdssl.checkpoint.files import latest_checkpoint, read_checkpoint, whole_file
from mmdssl.datasets.checks import explain_unusable_data
from mmdssl.datasets.transforms.load_image import keep_skipped
from mmdssl.engine.unwrap import unwrap
from mmdssl.errors import InputError
from mmdssl.models.backbones import TimmBackbone
from mmdssl.models.layers.sync_norm import synchronise_norms
from mmdssl.registry import RUNNERS

# Of no use to those who watch a run; some of it is for those who read its log.
NOISE = re.compile(r'\s*-+\nSystem environment|Config:\n|Hooks will be executed|Distributed training is not used|'
                   r'Exp name:|"FileClient" will be|"HardDiskBackend" is|`save_param_scheduler` is True but')
COMPILED_VERSIONS = 128


@RUNNERS.register_module()
class Runner(base.Runner):
    """MMEngine's runner; what differs:

    - checkpoints are written whole or not at all, and read without running anything they contain;
    - a resumed model must match its checkpoint exactly;
    - the learning rate is scaled by the images per optimizer step, accumulated ones included;
    - several processes also run on CPUs (gloo), where ``sync_bn`` takes our own batch normalisation;
    - the console shows what happens, and only the log file environment, config and hooks as well;
    - ``compile=True``, or a dict of arguments of ``torch.compile``, compiles each transformer block, or timm's networks.
    """

    @property
    def global_batch_size(self) -> int:
        """Images per optimizer step: batch size x processes x accumulated iterations."""
        return self.train_dataloader.batch_sampler.batch_size * self.world_size * self._accumulated

    @property
    def _accumulated(self) -> int:
        return getattr(self.optim_wrapper, '_accumulative_counts', 1)

    @staticmethod
    def build_dataloader(dataloader: dict | DataLoader, *args, **kwargs) -> DataLoader:
        """MMEngine's; ``num_workers=0`` alone is enough to load data in this process."""
        if isinstance(dataloader, DataLoader):
            return dataloader
        if not dataloader.get('num_workers'):
            dataloader = {**dataloader, 'persistent_workers': False}
        with explain_unusable_data(dataloader['dataset']):
            loader = base.Runner.build_dataloader(dataloader, *args, **kwargs)
        keep_skipped(loader.dataset)
        return loader

    def build_evaluator(self, evaluator: dict | list | Evaluator) -> Evaluator:
        with explain_unusable_data(dict(datasets=evaluator) if isinstance(evaluator, list) else evaluator):
            return super().build_evaluator(evaluator)

    def build_logger(self, *args, **kwargs) -> MMLogger:
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if type(handler) is logging.StreamHandler:
                handler.addFilter(_is_for_people)
        return logger

    def setup_env(self, env_cfg: dict) -> None:
        if self.distributed:  # MMEngine's choice, without its warnings
            for variable in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS'):
                os.environ.setdefault(variable, '1')
        if self.distributed and not is_distributed() and not torch.cuda.is_available():
            if self.launcher != 'pytorch':
                raise InputError(f"launcher '{self.launcher}' needs GPUs: on CPUs start the processes with torchrun "
                                 'and use --launcher pytorch')
            torch.distributed.init_process_group('gloo')
        if self.launcher == 'mpi':
            os.environ.setdefault('LOCAL_RANK', os.environ['OMPI_COMM_WORLD_LOCAL_RANK'])
        super().setup_env(env_cfg)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        warnings.filterwarnings('ignore', '`broadcast_buffers` is deprecated', FutureWarning)  # MMEngine uses it too
        on_gpu, sync_bn = torch.cuda.is_available(), self.cfg.get('sync_bn')
        if not self.distributed or model_wrapper_cfg is not None or on_gpu and sync_bn not in (None, 'torch'):
            return super().wrap_model(model_wrapper_cfg, model)
        if on_gpu and sync_bn:
            model = convert_sync_batchnorm(model)  # MMEngine's loses the activation that some of timm's norms contain
        elif sync_bn:
            synchronise_norms(model)
        return MMDistributedDataParallel(model.to(get_device()), broadcast_buffers=False,
                                         device_ids=[int(os.environ['LOCAL_RANK'])] if on_gpu else None,
                                         find_unused_parameters=self.cfg.get('find_unused_parameters', False))

    def _maybe_compile(self, target: str) -> None:
        """Compile parts of the networks in place; MMEngine compiles the whole step, anew whenever a schedule moves."""
        options, modules = self.cfg.get('compile'), list(self.model.modules())
        parts = [module for module in modules if isinstance(module, Block)]
        parts = parts or [module.network for module in modules if isinstance(module, TimmBackbone) and module.out_indices is None]
        if options in (None, False) or not parts:
            super()._maybe_compile(target)
            return
        # Blocks share their code, and each needs versions of its own where they differ in drop path.
        torch._dynamo.config.cache_size_limit = COMPILED_VERSIONS
        for part in parts:
            part.compile(**({} if options is True else options))
        self.logger.info(f'{len(parts)} parts of the networks are compiled: the first iterations are slow.')

    def scale_lr(self, optim_wrapper: OptimWrapper, auto_scale_lr: dict | None = None) -> None:
        """Multiply the learning rate by the global batch size over ``auto_scale_lr['base_batch_size']``."""
        if not (auto_scale_lr or {}).get('enable'):
            return
        reference = auto_scale_lr['base_batch_size']
        before = optim_wrapper.param_groups[-1]['lr']
        for group in optim_wrapper.param_groups:
            group['lr'] *= self.global_batch_size / reference
        self.logger.info(
            f'Learning rate {before:.3g} -> {optim_wrapper.param_groups[-1]["lr"]:.3g}: it is set for {reference} '
            f'images per step, and this run has {self.global_batch_size} '
            f'({self.train_dataloader.batch_sampler.batch_size} per process x {self.world_size} processes '
            f'x {self._accumulated} accumulated).')

    def load_or_resume(self) -> None:
        if self._resume and self._load_from is None:
            latest = latest_checkpoint(self.work_dir)
            if latest is None:
                self.logger.info(f'There is no checkpoint in {self.work_dir} to resume from: starting from scratch.')
            self._resume, self._load_from = latest is not None, latest
        super().load_or_resume()

    def load_checkpoint(self, filename: str | Path, map_location: str | torch.device = 'cpu', strict: bool = False,
                        revise_keys: Sequence = ((r'^module.', ''), )) -> dict:
        """Load weights into the model, all of them.

        Raises:
            InputError: The file is missing, damaged or refused, or does not fit the model.
        """
        checkpoint = read_checkpoint(filename, map_location)
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        try:
            _load_checkpoint_to_model(unwrap(self.model), checkpoint, strict=True, revise_keys=revise_keys)
        except RuntimeError as error:
            raise InputError(f'{filename} does not fit the model of this config: use the config it was made with, or, for its backbone '
                             f'alone, --pretrained ({error})') from None
        self._has_loaded = True
        self.logger.info(f'Loaded {filename}')
        return checkpoint

    def save_checkpoint(self, out_dir: str, filename: str, *args, **kwargs) -> None:
        """MMEngine's, but ``out_dir/filename`` is at any moment the old file or the whole new one."""
        self.call_hook('read_values')  # on every process: the checkpoint's history wants those still on the device
        self._save_checkpoint(out_dir, filename, *args, **kwargs)

    @master_only
    def _save_checkpoint(self, out_dir: str, filename: str, *args, **kwargs) -> None:
        if '://' in str(out_dir):  # a remote store, whose backend decides
            super().save_checkpoint(out_dir, filename, *args, **kwargs)
        else:
            with whole_file(Path(out_dir, filename)) as partial:
                super().save_checkpoint(out_dir, partial.name, *args, **kwargs)


def _is_for_people(record: logging.LogRecord) -> bool:
    return not NOISE.match(record.getMessage())
