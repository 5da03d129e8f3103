"""What must hold for every algorithm with every way to share heads, masked or not."""
from __future__ import annotations

import pytest
import torch
from algorithm_configs import config_of
from masked_ranks import CASES as MASKED
from masked_ranks import samples_of
from processes import run_ranks
from runs import STOPPED, check_resumed, draw_images, recipe, run, run_as_rank
from torch import nn

from mmdssl.datasets.views import Views
from mmdssl.registry import MODELS
from mmdssl.schedules import Progress

MASKS = dict(mask_token=True)
SINCOS = dict(position='sincos', mask_token=True)
CASES = {'dino': ('DINO', {}, None, {}), 'bam': ('BAM', {}, None, {})}
CASES |= {'selfpatch': ('SelfPatch', dict(class_token=False, final_norm=False), None, {}),
          'densecl': ('DenseCL', {}, None, dict(temperature=1., queue_size=8)),
          'densecl 3 x 3': ('DenseCL', {}, None, dict(temperature=1., queue_size=8, grid=3, matching='dense'))}
# At the temperatures of large networks, the rounding of these tiny ones would be most of the loss.
CASES |= {'supcon': ('SupCon', {}, None, dict(temperature=1., base_temperature=None)),
          'supcon inside': ('SupCon', {}, None, dict(temperature=1., base_temperature=None, inside=True)),
          'looc': ('LooC', {}, None, dict(temperature=1., queue_size=8))}
PREDICTOR = dict(hidden_dim=20, num_layers=2)
CASES |= {'mocov2': ('MoCoV2', {}, None, dict(temperature=1., queue_size=8)),
          'mocov3': ('MoCoV3', {}, None, dict(temperature=1., predictor=PREDICTOR)),
          'simclr': ('SimCLR', {}, None, dict(temperature=1.)),
          'byol': ('BYOL', {}, None, dict(predictor=PREDICTOR)),
          'swav': ('SwAV', {}, None, dict(num_prototypes=7, temperature=1., epsilon=1.)),
          'barlow twins': ('BarlowTwins', {}, None, {})}
# What else than two global and two local views they read.
VIEWS = {name: dict(masked=False, local=False) for name in ('MoCoV2', 'MoCoV3', 'SimCLR', 'BYOL', 'BarlowTwins')}
VIEWS |= dict(SwAV=dict(masked=False), DenseCL=dict(masked=False, local=False), SupCon=dict(masked=False, local=False, labels=True),
             LooC=dict(masked=False, local=False, num=5))
for sharing in ('shared', 'semi-shared', 'vanilla'):
    CASES |= {
        f'ibot {sharing}': ('IBOT', MASKS, None, dict(sharing=sharing)),
        f'ibot unmasked {sharing}': ('IBOT', MASKS, None, dict(sharing=sharing, masked=False)),
        f'adclr {sharing}': ('ADCLR', {}, (3, 8), dict(sharing=sharing)),
        f'adclr masked {sharing}': ('ADCLR', MASKS, (3, 8), dict(sharing=sharing, masked=True)),
        f'pqcl {sharing}': ('PQCL', SINCOS, (2, 16), dict(sharing=sharing)),
        f'pqcl unmasked {sharing}': ('PQCL', SINCOS, (2, 16), dict(sharing=sharing, masked=False)),
    }


CASES |= {name: name for name in MASKED}


def make_masked(name: str):
    """Masked modelling, which has no teacher, and its views; two steps of the dVAE draw the same noise."""
    algorithm = MODELS.build(dict(MASKED[name], type=f'mmdssl.{MASKED[name]["type"]}'))
    loss, algorithm.teacher = algorithm.loss, torch.nn.Module()
    algorithm.loss = lambda views: torch.manual_seed(1) and loss(views)
    views = Views.collate(samples_of(4, even=name == 'mae'))
    if name == 'dvae':
        views['global'].masks = None
    return algorithm, views


@pytest.fixture(params=CASES.values(), ids=list(CASES))
def case(request, make_algorithm, make_views):
    if isinstance(request.param, str):
        return make_masked(request.param)
    name, backbone, query, settings = request.param
    return make_algorithm(name, backbone=backbone, **settings), make_views(query=query, **VIEWS.get(name, {}))


def test_every_trainable_parameter_has_a_gradient_and_the_teacher_none(case):
    """Plain DistributedDataParallel needs the first, self-distillation the second."""
    algorithm, views = case
    teacher = algorithm.teacher or nn.Module()
    assert not any(p.requires_grad for p in teacher.parameters())
    algorithm.parse_losses(algorithm.loss(views))[0].backward()
    assert not [name for name, p in algorithm.student.named_parameters() if p.requires_grad and p.grad is None]
    assert not [name for name, p in teacher.named_parameters() if p.grad is not None]


def test_bf16_autocast_stays_close_to_fp32(case):
    algorithm, views = case
    state = {name: value.clone() for name, value in algorithm.state_dict().items()}
    expected = algorithm.loss(views)
    algorithm.load_state_dict(state)
    with torch.autocast('cpu', torch.bfloat16):
        losses = algorithm.loss(views)
    algorithm.parse_losses(losses)[0].backward()
    for name, value in losses.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, expected[name], rtol=0.05, atol=0.02)
    assert all(p.grad.isfinite().all() for p in algorithm.student.parameters() if p.grad is not None)


def test_one_step_lowers_the_loss_and_moves_the_teacher(case):
    algorithm, views = case
    teacher = algorithm.teacher or nn.Module()
    before = {name: p.clone() for name, p in teacher.named_parameters()}
    optimizer = torch.optim.SGD([p for p in algorithm.parameters() if p.requires_grad], lr=1e-3)
    state = {name: buffer.clone() for name, buffer in algorithm.named_buffers()}  # centers and queues
    algorithm.set_progress(Progress(0, 100, 0, 10))
    total, _ = algorithm.parse_losses(algorithm.loss(views))
    total.backward()
    nn.utils.clip_grad_norm_(algorithm.student.parameters(), 10.)  # Barlow Twins' loss is a sum over D^2 numbers
    optimizer.step()
    for name, buffer in algorithm.named_buffers():
        buffer.copy_(state[name])
    assert algorithm.parse_losses(algorithm.loss(views))[0] < total
    algorithm.after_step()
    assert all(not torch.equal(p, before[name]) for name, p in teacher.named_parameters())


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return draw_images(tmp_path_factory.mktemp('images'))


# Without variants that differ in nothing that a run remembers.
RUNS = [name for name in CASES if not any(variant in name for variant in ('shared', 'unmasked', 'inside', '3 x 3'))]
# What has begun, and what changes, after a run was stopped.
CHANGES = dict(swav=dict(queue_size=8, queue_begin=1, freeze_prototypes=5), densecl=dict(dense_weight=1., dense_warmup=5))


@pytest.mark.parametrize('name', [*RUNS, 'dilo'])
def test_a_run_that_was_stopped_within_an_epoch_goes_on_exactly(name, images, tiny_backbone, tmp_path):
    model, views = run_of(name, tiny_backbone)
    whole = run(model, views, images, tmp_path / 'whole')
    resumed = run(model, views, images, tmp_path / 'resumed', tmp_path / f'whole/iter_{STOPPED}.pth')
    check_resumed(whole, resumed)


def test_so_do_two_processes_with_queues_and_norms_of_both(images, tiny_backbone, tmp_path):
    run_ranks(run_as_rank, 2, tmp_path, images, {name: run_of(name, tiny_backbone) for name in ('mocov2', 'swav')})


def run_of(name: str, network: dict) -> tuple[dict, dict]:
    """Config of the algorithm of a case, with drop path and batch norms where it can have them, and of the views that it reads."""
    if name in MASKED:
        return MASKED[name], recipe(dict(mae='RandomMask', dvae=None).get(name, 'BlockMask'), local=False)
    kind, backbone, query, settings = CASES['mocov2' if name == 'dilo' else name]
    masks = backbone.get('mask_token') and settings.get('masked', True)
    reads = VIEWS.get(kind, {})
    if 'projector' in config_of(kind, {}):
        settings = dict(settings, projector=dict(norm=True))
    model = config_of(kind, dict(network, drop_path_rate=0.3, **backbone), **{**settings, **CHANGES.get(name, {})})
    return model, recipe('BlockMask' if masks else None, reads.get('local', True), query, 3 * (kind == 'LooC'), swap=name == 'dilo')
