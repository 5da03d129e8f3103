"""BYOL's loss and gradients against loops over Eq. 2 in float64."""
from __future__ import annotations

import torch
from torch import Tensor, nn

from mmdssl.datasets.views import ViewGroup, Views
from mmdssl.models.algorithms import BYOL
from mmdssl.registry import MODELS


@MODELS.register_module()
class Linear(nn.Linear):
    """A linear backbone of vectors."""

    def __init__(self):
        super().__init__(6, 5)
        self.embed_dim = 5

    def features(self, images: Tensor) -> Tensor:
        return self(images)


def byol(predictions: list[Tensor], targets: list[Tensor]) -> Tensor:
    """The sum over both directions of the mean over images of ``|q / |q| - z / |z||^2``."""
    loss = 0.
    for prediction, target in zip(predictions, reversed(targets)):
        for q, z in zip(prediction, target):
            q, z = (vector / sum(number**2 for number in vector).sqrt() for vector in (q, z))
            loss = loss + sum((a - b)**2 for a, b in zip(q, z)) / len(prediction)
    return loss


def test_loss_and_gradients_follow_the_equation():
    mlp = dict(hidden_dim=7, num_layers=2)
    algorithm = BYOL(dict(type='Linear'), projector=dict(mlp, out_dim=4), predictor=mlp).double()
    with torch.no_grad():
        for parameter in algorithm.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    images = torch.randn(2, 3, 6, dtype=torch.float64)
    values = algorithm.loss(Views({'global': ViewGroup(images, torch.zeros(0), torch.zeros(0))}, torch.arange(3)))
    student, teacher = algorithm.student, algorithm.teacher
    expected = byol([student.predictor(student.projector(student.backbone(view))) for view in images],
                    [teacher.projector(teacher.backbone(view)).detach() for view in images])
    torch.testing.assert_close(values['loss_regression'], expected, rtol=1e-12, atol=0)
    parameters = list(student.parameters())
    for ours, theirs in zip(*(torch.autograd.grad(loss, parameters) for loss in (values['loss_regression'], expected))):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
    assert 0 < values['loss_regression'] < 8
