from __future__ import annotations

import pytest
import torch
from torch import nn
from toy import history

from mmdssl.engine.optim_wrapper import OptimWrapper, clip_each_
from mmdssl.errors import InputError, NonFiniteLossError


def make(model: nn.Module, **kwargs) -> OptimWrapper:
    return OptimWrapper(torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1), **kwargs)


def test_each_gradient_is_clipped_by_itself():
    gradients = [torch.randn(4, 3) * 10, torch.randn(7), torch.randn(()) * 5, torch.zeros(2)]
    expected = [g.double() * min(1., 1.5 / (g.double().square().sum().sqrt().item() + 1e-6)) for g in gradients]
    clip_each_(gradients, 1.5)
    for gradient, wanted in zip(gradients, expected):
        torch.testing.assert_close(gradient.double(), wanted, rtol=1e-6, atol=0)
    clip_each_([], 1.)


def test_the_step_uses_clipped_gradients():
    model = nn.Linear(2, 1, bias=False)
    nn.init.zeros_(model.weight)
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1.), clip_per_tensor=0.5)
    wrapper.update_params(model(torch.tensor([[30., 40.]])).sum())
    torch.testing.assert_close(model.weight.data, torch.tensor([[-0.3, -0.4]]))


def test_frozen_parameters_are_untouched_by_decay_and_moments():
    model = nn.Linear(3, 2)
    before = model.weight.clone(), model.bias.clone()
    wrapper = make(model, clip_per_tensor=1.)
    wrapper.frozen = [model.weight]
    wrapper.update_params(model(torch.ones(1, 3)).sum())
    assert torch.equal(model.weight, before[0]) and not torch.equal(model.bias, before[1])
    assert model.weight not in wrapper.optimizer.state and model.bias in wrapper.optimizer.state
    wrapper.frozen = []
    wrapper.update_params(model(torch.ones(1, 3)).sum())
    assert not torch.equal(model.weight, before[0])
    assert wrapper.optimizer.state[model.weight]['step'] == 1


@pytest.mark.parametrize('clip', [None, 0.5])
def test_accumulated_small_batches_equal_the_big_batch(clip):
    batch = torch.randn(8, 5, dtype=torch.float64)
    weights = []
    for parts in (1, 4):
        torch.manual_seed(0)
        model = nn.Linear(5, 1).double()
        wrapper = make(model, accumulative_counts=parts, clip_per_tensor=clip)
        wrapper.initialize_count_status(model, 0, 3 * parts)
        for _ in range(3):
            for part in batch.chunk(parts):
                wrapper.update_params(model(part).square().mean())
        assert wrapper.num_steps == 3
        weights.append(model.weight.data)
    torch.testing.assert_close(*weights)


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
def test_a_bad_loss_leaves_weights_and_optimizer_alone(value):
    model = nn.Linear(2, 1)
    before = model.weight.clone()
    wrapper = make(model)
    with pytest.raises(NonFiniteLossError):
        wrapper.update_params(model(torch.full((1, 2), value)).sum())
    assert torch.equal(model.weight, before) and not wrapper.optimizer.state and wrapper.num_steps == 0


def test_bf16_computes_in_bf16_on_the_cpu():
    model = nn.Linear(4, 4)
    for amp, dtype in ((None, torch.float32), ('bf16', torch.bfloat16)):
        with make(model, amp=amp).optim_context(model):
            assert model(torch.ones(1, 4)).dtype == dtype


@pytest.mark.parametrize('amp, message', [('fp16', "use amp='bf16'"), ('half', "amp='half': give 'bf16', 'fp16' or None")])
def test_impossible_precision_is_an_input_error(amp, message):
    with pytest.raises(InputError, match=message):
        make(nn.Linear(1, 1), amp=amp)


def test_state_survives_saving_and_loading():
    model = nn.Linear(3, 1)
    wrapper, other = make(model), make(model)
    wrapper.update_params(model(torch.ones(1, 3)).sum())
    other.load_state_dict(wrapper.state_dict())
    assert torch.equal(other.optimizer.state[model.weight]['exp_avg'], wrapper.optimizer.state[model.weight]['exp_avg'])


def test_the_teacher_moves_once_per_optimizer_step(train):
    runner = train(**{'optim_wrapper.accumulative_counts': 4})
    assert runner.optim_wrapper.num_steps == 5  # 18 iterations: after 4, 8, 12, 16 and, for the rest, 18
    assert runner.model.steps_taken == 5


def test_the_last_layer_is_frozen_in_the_first_epoch_only(train):
    runner = train(**{'train_cfg.max_epochs': 1})
    fresh = train(**{'train_cfg.max_epochs': 1, 'optim_wrapper.optimizer.lr': 0., 'name': 'still'})
    assert torch.equal(runner.model.student[3].weight, fresh.model.student[3].weight)
    assert not torch.equal(runner.model.student[0].weight, fresh.model.student[0].weight)
    moved = train(**{'train_cfg.max_epochs': 2, 'name': 'moved'})
    assert not torch.equal(moved.model.student[3].weight, fresh.model.student[3].weight)
    assert len(history(moved)) == 12
