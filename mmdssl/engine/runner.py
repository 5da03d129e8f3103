"""MMEngine's runner with checkpoints that survive a crash, and a learning rate that follows the real batch."""
from __future__ import annotations

import logging
import os
import pickle
import re
import time
import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import mmengine
import torch
from mmengine import runner as base
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import is_distributed, master_only
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmengine.runner.checkpoint import _load_checkpoint_to_model, save_checkpoint, weights_to_cpu
from mmengine.utils import apply_to
from timm.layers import convert_sync_batchnorm
from timm.models.vision_transformer import Block
from torch import nn
from torch.utils.data import DataLoader

from mmdssl.checkpoint.config_data import config_to_json
from mmdssl.checkpoint.files import latest_checkpoint, read_checkpoint, whole_file
from mmdssl.checkpoint.weights import check_resumable, check_weights, network_of
from mmdssl.datasets.checks import explain_unusable_data
from mmdssl.datasets.samplers import EpochSampler
from mmdssl.datasets.transforms.load_image import keep_skipped
from mmdssl.datasets.workers import prepare_workers
from mmdssl.engine.faults import explain_fault
from mmdssl.engine.hooks.shared_memory_hook import SharedMemoryHook
from mmdssl.engine.hooks.stop_hook import StopHook
from mmdssl.engine.loops import TrainLoop
from mmdssl.engine.precision import SLOW, bf16_cost, in_words
from mmdssl.engine.recomputing import recompute, recomputed_modules
from mmdssl.engine.resume import EvaluateFirstHook, changes_since, fingerprint_images, resume_optimizer, say_what_was_resumed
from mmdssl.engine.run_length import in_iterations
from mmdssl.engine.run_lock import hold, release
from mmdssl.engine.sharding import check_strategy, full_state, is_sharded, prepare_optimizer, shard, whole, with_zero1
from mmdssl.engine.unwrap import unwrap
from mmdssl.errors import InputError
from mmdssl.models.backbones import TimmBackbone
from mmdssl.models.layers.sync_norm import synchronise_norms
from mmdssl.registry import RUNNERS

# Of no use to those who watch a run; some of it is for those who read its log.
NOISE = re.compile(r'\s*-+\nSystem environment|Config:\n|Hooks will be executed|Distributed training is not used|'
                   r'Exp name:|"FileClient" will be|"HardDiskBackend" is|`save_param_scheduler` is True but|'
                   r'The prefix is not set in metric class|Evaluating (bbox|segm)\.\.\.|(bbox|segm)_mAP_copypaste:')
COMPILED_VERSIONS = 128
# By which of its variables a process knows what started it.
RANKS = dict(pytorch='RANK', slurm='SLURM_PROCID', mpi='OMPI_COMM_WORLD_LOCAL_RANK')


@RUNNERS.register_module()
class Runner(base.Runner):
    """MMEngine's runner; what differs:

    - checkpoints are written whole or not at all, and read without running anything they contain;
    - a resumed model must match its checkpoint exactly, and the log says what a resumed run takes from where;
    - configs are stored as JSON, and formatted once, when the run starts;
    - the learning rate is scaled by the images per optimizer step, accumulated ones included;
    - a second run in its work dir is refused, and one that is asked to end saves first;
    - workers that cannot load data say so, instead of being waited for;
    - several processes also run on CPUs (gloo), where ``sync_bn`` takes our own batch normalisation;
    - the console shows what happens, and only the log file environment, config and hooks as well;
    - ``shard='zero1'`` or ``'fsdp'`` spreads what training keeps in memory over the processes;
    - ``compile=True``, or a dict of arguments of ``torch.compile``, compiles each transformer block, or timm's networks.
    """

    @property
    def cfg(self) -> Config:
        return self._cfg

    @cfg.setter
    def cfg(self, cfg: Config) -> None:
        self._cfg = FormattedOnce.__new__(FormattedOnce)
        self._cfg.__dict__.update(cfg.__dict__)

    @cached_property
    def training_images(self) -> str:
        """A short name for the images of the training data."""
        return fingerprint_images(self.train_dataloader.dataset)

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
        if isinstance(dataloader.get('collate_fn'), Mapping):  # those of a config that inherits from mmdssl:: have a scope, as all else
            collate = {key: value for key, value in dataloader['collate_fn'].items() if key != '_scope_'}
            dataloader = {**dataloader, 'collate_fn': collate}
        with explain_unusable_data(dataloader['dataset']):
            loader = base.Runner.build_dataloader(dataloader, *args, **kwargs)
        keep_skipped(loader.dataset)
        prepare_workers(loader)
        return loader

    def build_evaluator(self, evaluator: dict | list | Evaluator) -> Evaluator:
        with explain_unusable_data(dict(datasets=evaluator) if isinstance(evaluator, list) else evaluator):
            return super().build_evaluator(evaluator)

    def build_logger(self, *args, **kwargs) -> MMLogger:
        logger = super().build_logger(*args, **kwargs)
        logger.addFilter(_make_printable)
        for handler in logger.handlers:
            if type(handler) is logging.StreamHandler:
                handler.addFilter(_is_for_people)
                handler.handleError = lambda record: None  # a console that is gone or full: the log file has it all
            else:
                handler.handleError = _stop_run  # logging prints a traceback for each line that a full disk does not take
        return logger

    def setup_env(self, env_cfg: dict) -> None:
        variable = RANKS.get(self.launcher)
        if variable and variable not in os.environ:
            raise InputError(f"launcher '{self.launcher}' did not start this process, {variable} is not set: start it with torchrun, "
                             'srun or mpirun, for instance by tools/dist_train.sh, or leave --launcher out')
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
        if self._train_loop is not None:
            hold(self.work_dir)

    def register_hooks(self, *args, **kwargs) -> None:
        super().register_hooks(*args, **kwargs)
        self._stop_hook = StopHook()
        for hook in self._stop_hook, SharedMemoryHook():
            self.register_hook(hook)

    def train(self) -> nn.Module:
        try:
            self._recomputed = recomputed_modules(unwrap(self.model), self.cfg.get('activation_checkpointing') or ())
            with self._stop_hook.listening():
                return super().train()
        finally:
            release(self.work_dir)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        warnings.filterwarnings('ignore', '`broadcast_buffers` is deprecated', FutureWarning)  # MMEngine uses it too
        on_gpu, sync_bn, strategy = torch.cuda.is_available(), self.cfg.get('sync_bn'), self._strategy
        if strategy:
            check_strategy(strategy, model, self.world_size)
        if strategy == 'fsdp' and (model_wrapper_cfg is not None or sync_bn == 'mmcv'):
            raise InputError("shard='fsdp' wraps the model itself and knows sync_bn='torch' only: leave out model_wrapper_cfg, and "
                             "sync_bn='mmcv'")
        if not self.distributed or model_wrapper_cfg is not None or on_gpu and sync_bn not in (None, 'torch'):
            return super().wrap_model(model_wrapper_cfg, model)
        if on_gpu and sync_bn:
            model = convert_sync_batchnorm(model)  # MMEngine's loses the activation that some of timm's norms contain
        elif sync_bn:
            synchronise_norms(model)
        if strategy == 'fsdp':
            self.model = model
            super()._init_model_weights()  # while they are whole
            return shard(model, get_device())
        return MMDistributedDataParallel(model.to(get_device()), broadcast_buffers=False,
                                         device_ids=[int(os.environ['LOCAL_RANK'])] if on_gpu else None,
                                         find_unused_parameters=self.cfg.get('find_unused_parameters', False))

    @property
    def _strategy(self) -> str | None:
        return self.cfg.get('shard') if getattr(self, '_train_loop', None) is not None else None

    def _init_model_weights(self) -> None:
        if not is_sharded(self.model):
            super()._init_model_weights()

    def build_optim_wrapper(self, optim_wrapper: dict | OptimWrapper) -> OptimWrapper:
        """MMEngine's, of an optimizer that fits how the model is sharded; the log says what bf16 costs on a CPU."""
        if self._strategy == 'zero1' and isinstance(optim_wrapper, dict):
            optim_wrapper = with_zero1(optim_wrapper)
        optim_wrapper = super().build_optim_wrapper(optim_wrapper)
        if is_sharded(self.model):
            prepare_optimizer(optim_wrapper.optimizer)
        cost = bf16_cost(unwrap(self.model), optim_wrapper)
        if cost is not None:
            self.logger.log(logging.WARNING if cost > SLOW else logging.INFO, in_words(cost))
        return optim_wrapper

    def _maybe_compile(self, target: str) -> None:
        """Compile parts of the networks in place; MMEngine compiles the whole step, anew whenever a schedule moves."""
        recompute(self._recomputed)
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

    def _build_param_scheduler(self, scheduler: dict | list, optim_wrapper: OptimWrapper) -> list:
        given = scheduler if isinstance(scheduler, Sequence) else [scheduler]
        return super()._build_param_scheduler([*in_iterations(given, self.max_epochs, len(self.train_dataloader))], optim_wrapper)

    def load_or_resume(self) -> None:
        if self._resume and self._load_from is None:
            latest = latest_checkpoint(self.work_dir)
            if latest is None:
                self.logger.info(f'There is no checkpoint in {self.work_dir} to resume from: starting from scratch.')
            self._resume, self._load_from = latest is not None, latest
        elif not self._resume and self._train_loop and (earlier := latest_checkpoint(self.work_dir)):
            self.logger.warning(f'{self.work_dir} holds checkpoints of an earlier run ({earlier.name}), which this one replaces as it '
                                'goes: to continue that one, stop and give --resume; to keep it, stop and give another --work-dir.')
        try:
            super().load_or_resume()
        except InputError:
            raise
        except Exception as error:
            if not self._resume or explain_fault(error):
                raise
            raise InputError(f'{self._load_from} cannot be continued from with this config ({type(error).__name__}: {error}): use the '
                             'config it was made with, or start a new run from its weights with load_from') from error

    def load_checkpoint(self, filename: str | Path, map_location: str | torch.device = 'cpu', strict: bool = False,
                        revise_keys: Sequence = ((r'^module.', ''), )) -> dict:
        """Load weights into the model, all of them.

        Raises:
            InputError: The file is missing, damaged or refused, or does not fit the model.
        """
        checkpoint = read_checkpoint(filename, map_location)
        self._load_weights(checkpoint, filename, revise_keys)
        return checkpoint

    def _load_weights(self, checkpoint: dict, filename: str | Path, revise_keys: Sequence = ((r'^module.', ''), )) -> None:
        check_weights(filename, network_of(filename, checkpoint), unwrap(self.model).state_dict())
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        try:
            _load_checkpoint_to_model(unwrap(self.model), checkpoint, strict=True, revise_keys=revise_keys)
        except RuntimeError as error:
            what = ' '.join(str(error).split())  # PyTorch lists all tensors, in many lines
            raise InputError(f'{filename} does not fit the model of this config: use the config it was made with, or, for its backbone '
                             f'alone, --pretrained ({what if len(what) <= 400 else what[:400] + "..."})') from None
        self._has_loaded = True
        self.logger.info(f'Loaded {filename}')

    def resume(self, filename: str | Path, map_location: str | torch.device = 'default') -> None:
        """Go on where a checkpoint was saved; see :mod:`mmdssl.engine.resume` for what the config may change.

        Raises:
            InputError: The file is missing, damaged or refused, holds no run, or the config changes what is trained.
        """
        spread = self._strategy is not None  # and a whole checkpoint may be more than a device holds: its processes share what they read
        checkpoint = read_checkpoint(filename, 'cpu' if map_location == 'default' else map_location, mmap=spread)
        check_resumable(filename, checkpoint)
        changes = changes_since(self, checkpoint, filename)
        self._load_weights(checkpoint, filename)
        meta = checkpoint['meta']
        self.train_loop._epoch, self.train_loop._iter = meta['epoch'], meta['iter']
        self._to_the_start_of_an_epoch()
        self._resume_seed(meta.get('seed'))
        if pickle.dumps(meta.get('dataset_meta')) != pickle.dumps(getattr(self.train_dataloader.dataset, 'metainfo', None)):
            self.logger.warning('The classes or colours of the training data are not those of the checkpoint.')
        for part in checkpoint['message_hub'].values():
            part.pop('cfg', None)  # the text of an old checkpoint's config
        self.message_hub.load_state_dict(checkpoint['message_hub'])
        rates = resume_optimizer(self, checkpoint)
        self.register_hook(EvaluateFirstHook())
        say_what_was_resumed(self, filename, changes, rates)

    def _to_the_start_of_an_epoch(self) -> None:
        """Where the loop is MMEngine's, which always runs whole epochs."""
        loop = self.train_loop
        if isinstance(loop, base.EpochBasedTrainLoop) and not isinstance(loop, TrainLoop):
            begun = loop.iter - loop.epoch * len(loop.dataloader)
            loop._iter -= begun
            if begun:
                self.logger.warning(f'The first {begun} iterations of the epoch are repeated: {type(loop).__name__} cannot go on in the '
                                    "middle of one, train_cfg.type='mmdssl.TrainLoop' can.")

    def _resume_seed(self, seed: int | None) -> None:
        """Where the config leaves the seed to chance."""
        if seed is not None and seed != self._randomness_cfg.get('seed'):
            self._randomness_cfg.update(seed=seed)
            self.set_randomness(**self._randomness_cfg)
            sampler = self.train_dataloader.sampler  # built with the other seed
            if isinstance(sampler, EpochSampler) and not self._randomness_cfg.get('diff_rank_seed'):
                sampler.seed = seed

    def save_checkpoint(self, out_dir: str, filename: str, file_client_args: None = None, save_optimizer: bool = True,
                        save_param_scheduler: bool = True, meta: dict | None = None, by_epoch: bool = True,
                        backend_args: dict | None = None) -> None:
        """MMEngine's, but ``out_dir/filename`` is at any moment the old file or the whole new one."""
        self.call_hook('read_values')  # on every process: the checkpoint's history wants those still on the device
        optimizer = full_state(self.optim_wrapper.state_dict()) if save_optimizer else None
        with whole(self):
            self._save_checkpoint(out_dir, filename, meta or {}, by_epoch, optimizer, save_param_scheduler, backend_args)

    @master_only
    def _save_checkpoint(self, out_dir: str, filename: str, meta: dict, by_epoch: bool, optimizer: dict | None,
                         save_param_scheduler: bool, backend_args: dict | None) -> None:
        checkpoint = self._state(meta, by_epoch, optimizer, save_param_scheduler)
        self.call_hook('before_save_checkpoint', checkpoint=checkpoint)
        if '://' in str(out_dir):  # a remote store, whose backend decides
            save_checkpoint(checkpoint, f'{out_dir}/{filename}', backend_args=backend_args)
        else:
            with whole_file(Path(out_dir, filename)) as partial:
                save_checkpoint(checkpoint, str(partial), backend_args=backend_args)

    def _state(self, meta: dict, by_epoch: bool, optimizer: dict | None, save_param_scheduler: bool) -> dict:
        """What MMEngine stores, but for the config, which is data here and the text of a program there.

        ``meta['epoch']`` and ``meta['iter']`` count what is finished: hooks save before the loop counts on.
        """
        meta = dict(epoch=self.epoch + by_epoch, iter=self.iter + (not by_epoch)) | meta
        meta.update(cfg=config_to_json(self.cfg), seed=self.seed, experiment_name=self.experiment_name, world_size=self.world_size,
                    images=self.training_images, time=time.strftime('%Y%m%d_%H%M%S'), mmengine_version=mmengine.__version__)
        if hasattr(self.train_dataloader.dataset, 'metainfo'):
            meta.update(dataset_meta=self.train_dataloader.dataset.metainfo)
        state = dict(meta=meta, state_dict=weights_to_cpu(unwrap(self.model).state_dict()),
                     message_hub=_on_cpu(self.message_hub.state_dict()))
        if optimizer is not None:
            state['optimizer'] = _on_cpu(optimizer)
        if save_param_scheduler and self.param_schedulers is not None:
            schedulers = self.param_schedulers
            state['param_schedulers'] = ({name: [each.state_dict() for each in group] for name, group in schedulers.items()}
                                         if isinstance(schedulers, dict) else [each.state_dict() for each in schedulers])
        return state


class FormattedOnce(Config):
    """MMEngine's config, whose text is formatted once: that takes long, and MMEngine takes whatever interrupts it for a mistake."""

    @cached_property
    def pretty_text(self) -> str:
        try:
            return Config.pretty_text.fget(self)
        except SyntaxError as error:
            raise error.__context__ or error from None


def _on_cpu(state: dict) -> dict:
    return apply_to(state, lambda value: hasattr(value, 'cpu'), lambda value: value.cpu())


def _make_printable(record: logging.LogRecord) -> bool:
    """Names of files may hold bytes that are no text."""
    if isinstance(record.msg, str):
        record.msg = record.msg.encode(errors='backslashreplace').decode()
    return True


def _is_for_people(record: logging.LogRecord) -> bool:
    return not NOISE.match(record.getMessage())


def _stop_run(record: logging.LogRecord) -> None:
    raise
