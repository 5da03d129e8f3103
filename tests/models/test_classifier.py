from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from timm.data import Mixup
from timm.loss import LabelSmoothingCrossEntropy
from timm.utils import ModelEmaV2
from torch import nn

from mmdssl.datasets.seeding import seeded
from mmdssl.errors import InputError
from mmdssl.models import Classifier

RESNET = dict(type='mmdssl.TimmBackbone', name='resnet18', model_args=dict(layers=[1, 1, 1, 1], channels=[8, 8, 8, 16]))


def classifier(backbone: dict, **kwargs) -> Classifier:
    with DefaultScope.overwrite_default_scope('mmdssl'):
        return MODELS.build(dict(type='mmdssl.Classifier', backbone=backbone, num_classes=4, **kwargs))


@pytest.fixture
def views(make_views):
    return make_views(batch_size=4, masked=False, local=False, num=1, labels=True)


@pytest.mark.parametrize('read', ['class', 'mean', 'pooled', 'resnet'])
def test_every_parameter_learns(read, tiny_backbone, views):
    """What gets no gradient would stop a distributed run. MAE's mean has no final norm, but one of its own."""
    if read == 'resnet':
        model = classifier(RESNET, read='pooled')
    else:
        model = classifier(dict(tiny_backbone, out_norm=read != 'mean'), read=read, norm=read == 'mean')
    model(views)['loss_cls'].backward()
    without = {name for name, p in model.named_parameters() if p.requires_grad and p.grad is None}
    assert not without
    if read == 'mean':
        assert not model.backbone.norm.weight.requires_grad
        tokens = model.backbone.intermediates(views['global'].images[0], [1], norm=False)[0][1]
        torch.testing.assert_close(model.scores(views['global'].images[0])[:, 0], model.head(tokens.mean(1)))


def test_mixed_images_and_targets_are_those_of_timm(tiny_backbone, views, monkeypatch):
    """By timm's own generator, and the target by hand: lam of one image and 1 - lam of its partner, smoothed."""
    model = classifier(tiny_backbone, mixup=0.8, cutmix=1., label_smoothing=0.1)
    seen = []
    monkeypatch.setattr(model.backbone, 'forward_tokens', lambda images, forward=model.backbone.forward_tokens: (
        seen.append(images.clone()), forward(images))[1])
    model.soft_loss.register_forward_pre_hook(lambda _, args: seen.append(args[1]))
    images, labels = views['global'].images[0].clone(), views.labels
    kinds = set()
    for seed in range(6):
        torch.manual_seed(seed)
        state = np.random.get_state()[1].tolist()
        model(copy.deepcopy(views))
        assert np.random.get_state()[1].tolist() == state
        torch.manual_seed(seed)
        with seeded(int(torch.randint(2**31, ()))):
            mixed, targets = Mixup(0.8, 1., label_smoothing=0.1, num_classes=4)(images.clone(), labels)
        assert torch.equal(seen[-2], mixed) and torch.equal(seen[-1], targets)
        cut = torch.isclose(mixed, images).float().mean() > 0.1
        kinds.add(bool(cut))
        lam = torch.isclose(mixed[0, 0], images[0, 0]).float().mean() if cut else (
            (mixed[0] - images[3]) / (images[0] - images[3])).median()
        one_hot = 0.9 * torch.eye(4)[labels] + 0.1 / 4
        torch.testing.assert_close(targets[0], lam * one_hot[0] + (1 - lam) * one_hot[3], rtol=1e-3, atol=1e-3)
    assert kinds == {True, False}, 'both were drawn'


def test_smoothed_labels_without_mixing(tiny_backbone, views):
    model = classifier(tiny_backbone, label_smoothing=0.1)
    logits = model.scores(views['global'].images[0])[:, 0]
    expected = LabelSmoothingCrossEntropy(0.1)(logits, views.labels)
    torch.testing.assert_close(model(views)['loss_cls'], expected)


def test_erased_rectangles_hold_normal_noise(tiny_backbone, views, monkeypatch):
    model = classifier(tiny_backbone, erasing=1.)
    seen = []
    monkeypatch.setattr(model.backbone, 'forward_tokens', lambda images, forward=model.backbone.forward_tokens: (
        seen.append(images.clone()), forward(images))[1])
    views['global'].images.fill_(5.)
    original = views['global'].images[0].clone()
    model(views)
    erased = (seen[0] != original).all(1)
    for each, pixels in zip(erased, seen[0]):
        rows, columns = each.any(1), each.any(0)
        assert torch.equal(each, rows[:, None] & columns), 'a rectangle'
        assert 0.015 < each.float().mean() < 0.36 and pixels[:, each].abs().mean() < 2


def test_the_moving_average_is_that_of_timm(views):
    """Parameters and buffers (batch normalisation), through steps of SGD; it starts from the loaded weights."""
    model = classifier(RESNET, read='pooled', ema=0.9)
    nn.init.ones_(model.head.weight)  # as if it had been loaded
    model.init_weights()
    judge = ModelEmaV2(nn.ModuleList([model.backbone, model.head]), decay=0.9)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    assert len(optimizer.param_groups[0]['params']) == sum(1 for _ in judge.module.parameters())
    model.train()
    for _ in range(3):
        optimizer.zero_grad()
        model(views)['loss_cls'].backward()
        optimizer.step()
        model.after_step()
        judge.update(nn.ModuleList([model.backbone, model.head]))
    found, expected = ({name: tensor for name, tensor in each.module.state_dict().items() if tensor.is_floating_point()}
                       for each in (model.ema, judge))  # the second version does not count batches
    torch.testing.assert_close(found, expected)
    assert not torch.equal(model.ema.module[0].network.bn1.running_mean, model.backbone.network.bn1.running_mean)
    model.eval()
    images = views['global'].images[0]
    scores = model.scores(images)
    torch.testing.assert_close(scores[:, 1], judge.module.eval()[1](judge.module[0].features(images)))
    assert scores.shape == (4, 2, 4)
    assert model.summary(dict(top1=[1., 2.])) == dict(top1=1., ema_top1=2.)
    assert classifier(RESNET, read='pooled').summary(dict(top1=[1.])) == dict(top1=1.)


def test_wrong_inputs_are_sentences(tiny_backbone, make_views):
    with pytest.raises(InputError, match='batch_size even'):
        classifier(tiny_backbone, mixup=1.)(make_views(batch_size=3, masked=False, local=False, num=1, labels=True))
    with pytest.raises(InputError, match="read to 'pooled'"):
        classifier(RESNET)
    with pytest.raises(InputError, match='mixup=-1'):
        classifier(tiny_backbone, mixup=-1)
