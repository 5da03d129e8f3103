"""Losses and gradients of methods on pooled features against loops over their equations in float64."""
from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mmdssl.datasets.views import ViewGroup, Views
from mmdssl.models.algorithms.joint_embedding import JointEmbedding
from mmdssl.registry import MODELS

IMAGES, QUEUE, TEMPERATURE = 4, 6, 0.3


@MODELS.register_module()
class Linear(nn.Linear):
    """A linear backbone of vectors."""

    def __init__(self):
        super().__init__(6, 5)
        self.embed_dim = 5

    def features(self, images: Tensor) -> Tensor:
        return self(images)


def unit(vector: Tensor) -> Tensor:
    return vector / sum(number**2 for number in vector).sqrt()


def dot(a: Tensor, b: Tensor) -> Tensor:
    return sum(x * y for x, y in zip(a, b))


def info_nce(query: Tensor, positive: Tensor, negatives: list[Tensor], temperature: float = TEMPERATURE) -> Tensor:
    """``-log exp(q.k / T) / (exp(q.k / T) + sum exp(q.n / T))``."""
    share = (dot(query, positive) / temperature).exp()
    return -(share / (share + sum((dot(query, negative) / temperature).exp() for negative in negatives))).log()


def latents(network: nn.ModuleDict, images: Tensor) -> Tensor:
    """Of each view by itself, as batch normalisation sees them."""
    return torch.stack([network.projector(network.backbone(view)) for view in images])


def predictions(algorithm: JointEmbedding, images: Tensor) -> Tensor:
    return torch.stack([algorithm.student.predictor(view) for view in latents(algorithm.student, images)])


def byol(algorithm: JointEmbedding, images: Tensor) -> Tensor:
    """The sum over both directions of the mean over images of ``|q / |q| - z / |z||^2`` (Eq. 2)."""
    targets = latents(algorithm.teacher, images).detach().flip(0)
    pairs = zip(predictions(algorithm, images).flatten(0, 1), targets.flatten(0, 1))
    return sum(((unit(q) - unit(z))**2).sum() for q, z in pairs) / IMAGES


def mocov2(algorithm: JointEmbedding, images: Tensor) -> Tensor:
    """The queue holds keys of earlier steps alone (Eq. 1)."""
    keys = latents(algorithm.teacher, images[1:])[0].detach()
    queries = latents(algorithm.student, images[:1])[0]
    return sum(info_nce(unit(q), unit(k), list(algorithm.queue.features.clone())) for q, k in zip(queries, keys)) / IMAGES


def mocov3(algorithm: JointEmbedding, images: Tensor) -> Tensor:
    """Algorithm 1: 2 T times the cross-entropy over the keys of the other view, in both directions."""
    total = 0.
    for queries, keys in zip(predictions(algorithm, images), latents(algorithm.teacher, images).detach().flip(0)):
        keys = [unit(key) for key in keys]
        total += sum(info_nce(unit(q), keys[i], keys[:i] + keys[i + 1:]) for i, q in enumerate(queries))
    return 2 * TEMPERATURE * total / IMAGES


def simclr(algorithm: JointEmbedding, images: Tensor) -> Tensor:
    """The mean over 2N views, which are one batch (Eq. 1)."""
    z = [unit(row) for row in latents(algorithm.student, images.flatten(0, 1)[None])[0]]
    partner = [(i + IMAGES) % len(z) for i in range(len(z))]
    return sum(info_nce(z[i], z[j], [z[k] for k in range(len(z)) if k not in (i, j)]) for i, j in enumerate(partner)) / len(z)


def barlow_twins(algorithm: JointEmbedding, images: Tensor) -> Tensor:
    """Eq. 1 and 2, with batch normalisation's 1e-5 beside the variance."""
    first, second = (((z - z.mean(0)) / (((z - z.mean(0))**2).mean(0) + 1e-5).sqrt()) for z in latents(algorithm.student, images))
    loss = 0.
    for i in range(first.shape[1]):
        for j in range(first.shape[1]):
            correlation = dot(first[:, i], second[:, j]) / IMAGES
            loss = loss + ((1 - correlation)**2 if i == j else 0.0051 * correlation**2)
    return loss


def swav(algorithm: JointEmbedding, images: Tensor) -> Tensor:
    """Eq. 1 and 2, with codes by the multiplicative iteration over a full queue and the batch (Eq. 3 to 5)."""
    z = [[unit(row) for row in view] for view in
         latents(algorithm.student, images.flatten(0, 1)[None])[0].unflatten(0, images.shape[:2])]
    prototypes = algorithm.student.prototypes.weight
    prototypes.data = torch.stack([unit(row) for row in prototypes.detach()])
    scores = [torch.stack([torch.stack([dot(row, prototype) for prototype in prototypes]) for row in view]) for view in z]
    total = 0.
    for view in range(2):
        rows = torch.cat([algorithm.queue.features[view] @ prototypes.T, scores[view]]).detach()
        codes = (rows / 0.5).exp()
        for _ in range(3):
            codes = codes / codes.sum(0)
            codes = codes / codes.sum(1, keepdim=True)
        for other in range(len(z)):
            if other != view:
                shares = (scores[other] / TEMPERATURE).exp()
                shares = shares / shares.sum(1, keepdim=True)
                total = total - (codes[QUEUE:] * shares.log()).sum() / IMAGES
    return total / (2 * (len(z) - 1))


MLP = dict(hidden_dim=7, num_layers=2)
NORMED = dict(MLP, norm=True, last_norm=None)
CASES = {
    'BYOL': (byol, dict(projector=NORMED, predictor=NORMED)),
    'MoCoV2': (mocov2, dict(projector=MLP, temperature=TEMPERATURE, queue_size=QUEUE)),
    'MoCoV3': (mocov3, dict(projector=dict(NORMED, last_norm='plain'), predictor=NORMED, temperature=TEMPERATURE)),
    'SimCLR': (simclr, dict(projector=dict(NORMED, last_norm='affine'), temperature=TEMPERATURE)),
    'BarlowTwins': (barlow_twins, dict(projector=NORMED)),
    'SwAV': (swav, dict(projector=NORMED, temperature=TEMPERATURE, num_prototypes=5, epsilon=0.5, queue_size=QUEUE)),
}


@pytest.mark.parametrize('name', CASES)
def test_loss_and_gradients_follow_the_equations(name):
    equation, settings = CASES[name]
    settings = dict(settings, projector=dict(settings['projector'], out_dim=4))
    algorithm = MODELS.build(dict(type=f'mmdssl.{name}', backbone=dict(type='Linear'), **settings)).double().train()
    with torch.no_grad():
        for parameter in algorithm.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    if name == 'SwAV':
        algorithm.queue.set_extra_state(torch.tensor(QUEUE))
    images = torch.randn(3 if name == 'SwAV' else 2, IMAGES, 6, dtype=torch.float64)
    groups = dict(zip(('global', 'local'), (ViewGroup(group, torch.zeros(0), torch.zeros(0)) for group in images.split(2))))
    expected = equation(algorithm, images)
    parameters = [p for p in algorithm.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(expected, parameters)
    loss, _ = algorithm.parse_losses(algorithm.loss(Views(groups, torch.arange(IMAGES))))
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=0)
    for ours, theirs in zip(torch.autograd.grad(loss, parameters), gradients):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-12)
