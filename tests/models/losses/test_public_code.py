"""BAM's loss against the authors' public code."""
from __future__ import annotations

import pytest
import torch
from golden_files import Golden, difference

from mmdssl.models.losses.balanced_attention import BalancedAttention

GOLDEN = Golden('bam_loss')


@pytest.mark.parametrize('name', GOLDEN.config['cases'])
def test_loss_and_gradient_are_the_authors(name):
    case = GOLDEN.config['cases'][name]
    student = GOLDEN['latents.student'].clone().requires_grad_()
    teacher = GOLDEN['latents.teacher'] if case['teacher'] else None
    loss = BalancedAttention(GOLDEN.config['source_temperature'], GOLDEN.config['balanced_set'], case['iterations'], case['top_k'])
    value = loss(student, teacher, GOLDEN.config['num_targets'], case['target_temperature'])['loss_bam']
    gradient, = torch.autograd.grad(value, student)
    assert difference(value, GOLDEN[f'{name}.loss']) < 2e-6
    assert difference(gradient, GOLDEN[f'{name}.grad']) < 1e-5
