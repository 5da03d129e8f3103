"""The loss against Eq. 1 to 5 in float64, and what must hold of its matrices, whole and in chunks."""
from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from bam_equations import balance, bam
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mmdssl.errors import InputError
from mmdssl.models.losses.balanced_attention import BALANCED_SETS, BalancedAttention, similarity, sinkhorn

WHOLE, CHUNKED = 2**25, 1
NAMES = ('loss_bam', 'entropy_source', 'entropy_target')


def latents(num_views: int = 2, images: int = 5, dim: int = 6) -> torch.Tensor:
    """Views of an image have something in common."""
    return torch.randn(images, dim, dtype=torch.float64) + 0.7 * torch.randn(num_views, images, dim, dtype=torch.float64)


def run(student: torch.Tensor, teacher: torch.Tensor | None = None, num_targets: int = 2, **kwargs):
    """Values, and the gradient of the loss."""
    leaf = student.clone().requires_grad_()
    values = BalancedAttention(**kwargs)(leaf, teacher, num_targets)
    return values, torch.autograd.grad(values['loss_bam'], leaf)[0]


def seen_by_teacher(teacher: torch.Tensor | None, balanced_set: str):
    return teacher[:2] if teacher is not None and balanced_set == 'global' else teacher


def self_matrix(num_views: int = 2, images: int = 8, dim: int = 32) -> torch.Tensor:
    """S of all views with themselves."""
    unit = torch.nn.functional.normalize(torch.randn(num_views, images, dim, dtype=torch.float64), dim=-1)
    return similarity(unit, unit, torch.arange(images)).flatten(0, 1)


def target(similarities: torch.Tensor, iterations: int, temperature: float = 0.05) -> torch.Tensor:
    logits = similarities / temperature
    return (logits - sinkhorn(lambda: logits.split(5), iterations)).softmax(1)


@pytest.mark.parametrize('max_elements', [WHOLE, CHUNKED])
@pytest.mark.parametrize('with_teacher', [False, True])
@pytest.mark.parametrize('num_views, balanced_set', [(2, 'all'), *product([8], BALANCED_SETS)])
def test_loss_gradient_and_entropies_follow_the_equations(num_views, balanced_set, with_teacher, max_elements):
    student, teacher = latents(num_views), latents(num_views) if with_teacher else None
    leaf = student.clone().requires_grad_()
    expected = bam(leaf, teacher, balanced_set)
    gradient, = torch.autograd.grad(expected['loss_bam'], leaf)
    values, actual = run(student, seen_by_teacher(teacher, balanced_set), balanced_set=balanced_set,
                         max_elements=max_elements)
    for name in NAMES:
        torch.testing.assert_close(values[name], expected[name], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(values['kl'], values['loss_bam'] - values['entropy_target'])
    torch.testing.assert_close(actual, gradient, rtol=1e-10, atol=1e-10)
    assert gradient.abs().max() > 1e-3


@pytest.mark.parametrize('settings', [dict(iterations=0), dict(iterations=10), dict(top_k=1), dict(top_k=3)])
@pytest.mark.parametrize('max_elements', [WHOLE, CHUNKED])
def test_options_follow_the_equations(settings, max_elements):
    student, teacher = latents(4), latents(4)
    leaf = student.clone().requires_grad_()
    expected = bam(leaf, teacher, **settings)
    values, actual = run(student, teacher, max_elements=max_elements, **settings)
    for name in NAMES:
        torch.testing.assert_close(values[name], expected[name], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(actual, torch.autograd.grad(expected['loss_bam'], leaf)[0], rtol=1e-10, atol=1e-10)
    assert not torch.allclose(values['loss_bam'], run(student, teacher)[0]['loss_bam'], rtol=1e-4)


def test_two_views_are_balanced_alike_in_every_reading():
    student = latents()
    losses = [run(student, balanced_set=name)[0]['loss_bam'] for name in BALANCED_SETS]
    torch.testing.assert_close(losses, losses[:1] * 3)


@pytest.mark.parametrize('iterations', [1, 3, 10])
def test_log_domain_is_multiplicative_sinkhorn(iterations):
    similarities = self_matrix()
    expected = balance((similarities / 0.05).exp(), iterations)
    torch.testing.assert_close(target(similarities, iterations), expected, rtol=1e-9, atol=1e-12)


def test_balanced_self_attention_is_symmetric_and_doubly_stochastic():
    balanced = target(self_matrix(images=64, dim=128), 20)
    torch.testing.assert_close(balanced, balanced.T, rtol=0, atol=1e-5)
    for sums in (balanced.sum(0), balanced.sum(1)):
        torch.testing.assert_close(sums, torch.ones_like(sums), rtol=0, atol=1e-5)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_positives_have_no_mass_in_source_and_target(dtype):
    similarities = self_matrix(num_views=3, images=6).to(dtype)
    image = torch.arange(18) % 6
    positives = image[:, None] == image
    for rows in ((similarities / 0.1).softmax(1), target(similarities, 3), target(similarities, 0)):
        assert (rows[positives] == 0).all() and (rows[~positives] > 0).all()


def test_target_is_sharper_than_source():
    """About 3.5 and 4.45 nats for random latents of 128 dimensions."""
    values, _ = run(torch.randn(2, 64, 128, dtype=torch.float64))
    assert values['entropy_target'].item() == pytest.approx(3.5, abs=0.2)
    assert values['entropy_source'].item() == pytest.approx(4.45, abs=0.2)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_constant_features_give_a_finite_loss_without_a_gradient(dtype):
    values, gradient = run(torch.ones(4, 6, 3, dtype=dtype))
    assert values['loss_bam'].item() == pytest.approx(math.log(2 * 5))
    assert values['kl'].abs() < 1e-5
    assert gradient.abs().max() < 1e-6


def test_order_of_images_does_not_matter():
    student, teacher, order = latents(4), latents(4), torch.randperm(5)
    values, gradient = run(student, teacher)
    shuffled, moved = run(student[:, order], teacher[:, order])
    torch.testing.assert_close(list(shuffled.values()), list(values.values()))
    torch.testing.assert_close(moved, gradient[:, order])


def test_teacher_has_no_gradient_and_length_does_not_matter():
    student, teacher = latents(4), latents(4).requires_grad_()
    values = BalancedAttention()(student.clone().requires_grad_(), teacher.detach())
    stretched = BalancedAttention()(student * 3, teacher.detach() * torch.rand(4, 5, 1, dtype=torch.float64))
    torch.testing.assert_close(stretched['loss_bam'], values['loss_bam'].detach())
    assert not any(value.requires_grad for name, value in values.items() if name != 'loss_bam')


@pytest.mark.parametrize('with_teacher', [False, True])
@pytest.mark.parametrize('chunk', [1, 3])
def test_chunks_change_nothing(with_teacher, chunk):
    """8 images in chunks of 1, and of 3, 3 and 2."""
    student, teacher = latents(4, 8), latents(4, 8) if with_teacher else None
    whole, gradient = run(student, teacher)
    values, in_chunks = run(student, teacher, max_elements=chunk * 4 * 16)
    torch.testing.assert_close(list(values.values()), list(whole.values()), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(in_chunks, gradient, rtol=1e-12, atol=1e-12)


class Largest(TorchDispatchMode):
    """Elements of the largest tensor that is made."""
    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        self.elements = max(self.elements, *(t.numel() for t in tree_leaves(out) if isinstance(t, torch.Tensor)), 0)
        return out


@pytest.mark.parametrize('with_teacher', [False, True])
def test_no_tensor_is_larger_than_asked_for(with_teacher):
    """Forward and backward. The whole matrix has 2 views x 64 images x 128 keys, the latents 512 numbers."""
    student, teacher = latents(2, 64, 4), latents(2, 64, 4) if with_teacher else None
    sizes = []
    for max_elements in (WHOLE, 2048):
        with Largest() as largest:
            run(student, teacher, max_elements=max_elements)
        sizes.append(largest.elements)
    assert sizes == [2 * 64 * 128, 2048]


def test_loss_is_fp32_inside_autocast():
    student = latents(4).float().bfloat16()
    expected = BalancedAttention()(student.float())
    with torch.autocast('cpu', torch.bfloat16):
        values = BalancedAttention()(student)
    assert all(value.dtype == torch.float32 for value in values.values())
    torch.testing.assert_close(list(values.values()), list(expected.values()))


def test_mistakes_are_explained():
    with pytest.raises(InputError, match="balanced_set='locals': give 'all', 'global' or 'full'"):
        BalancedAttention(balanced_set='locals')
    for numbers in (dict(source_temperature=0.), dict(iterations=-1), dict(top_k=-1)):
        with pytest.raises(InputError, match=f'{next(iter(numbers))}={next(iter(numbers.values()))}'):
            BalancedAttention(**numbers)
    with pytest.raises(InputError, match='there is no other: raise train_dataloader.batch_size'):
        BalancedAttention()(latents(2, 1))
