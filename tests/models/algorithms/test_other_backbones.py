"""Methods that read pooled features, on networks that are no vision transformers."""
from __future__ import annotations

import pytest
import torch
from torch.nn import BatchNorm2d

from mmdssl.errors import InputError
from mmdssl.registry import MODELS
from mmdssl.schedules import Progress

BACKBONES = {
    'resnet': dict(type='TimmBackbone', name='resnet18', stem_stride=2,
                   model_args=dict(layers=(1, 1, 1, 1), channels=(8, 8, 16, 16))),
    'caformer': dict(type='TimmBackbone', name='caformer', model_args=dict(depths=(1, 1, 1, 1), dims=(8, 8, 32, 32))),
}
HEAD = dict(head=dict(num_prototypes=12, hidden_dim=20, bottleneck_dim=6, use_bn=True))
METHODS = {
    'dino': dict(type='DINO', **HEAD),
    'bam': dict(type='BAM', projector=dict(hidden_dim=20, out_dim=12)),
    'bam without teacher': dict(type='BAM', projector=dict(hidden_dim=20, out_dim=12, activation='relu'), teacher=False),
    'densecl': dict(type='DenseCL', projector=dict(hidden_dim=20, out_dim=12, norm=True), queue_size=8),
    'supcon': dict(type='SupCon', projector=dict(hidden_dim=20, out_dim=12)),
    'looc': dict(type='LooC', projector=dict(hidden_dim=20, out_dim=12, norm=True), queue_size=8, temperature=1.),
}
VIEWS = dict(densecl=dict(local=False), supcon=dict(local=False, labels=True), looc=dict(local=False, num=5))


def build(method: str, backbone: str):
    return MODELS.build(dict(METHODS[method], backbone=BACKBONES[backbone])).train()


@pytest.mark.parametrize('backbone', BACKBONES)
@pytest.mark.parametrize('method', METHODS)
def test_a_step_lowers_the_loss_and_trains_everything(method, backbone, make_views):
    algorithm, views = build(method, backbone), make_views(4, masked=False, **VIEWS.get(method, {}))
    parameters = [p for p in algorithm.student.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.02)
    totals = []
    for _ in range(2):
        buffers = {name: value.clone() for name, value in algorithm.named_buffers()}
        optimizer.zero_grad()
        totals.append(algorithm.parse_losses(algorithm.loss(views))[0])
        totals[-1].backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in parameters)
        optimizer.step()
        for name, value in algorithm.named_buffers():
            value.copy_(buffers[name])  # centers too, so that the two losses compare
    if algorithm.teacher is not None:  # else the targets have moved
        assert totals[1] < totals[0]
    assert len(parameters) == len(list(algorithm.student.parameters()))
    assert algorithm.diagnostics()['effective_rank'] > 1


def norms(network) -> list[BatchNorm2d]:
    return [module for module in network.modules() if isinstance(module, BatchNorm2d)]


def test_statistics_of_the_teacher_are_its_own(make_views):
    """In training it normalises by its batch, that of the global views; only parameters follow the student."""
    algorithm, views = build('dino', 'resnet'), make_views(4, masked=False)
    teacher, student = norms(algorithm.teacher)[0], norms(algorithm.student)[0]
    inputs = []
    teacher.register_forward_hook(lambda _, args, output: inputs.append(args[0]))
    algorithm.loss(views)
    assert [len(x) for x in inputs] == [8]
    expected = 0.1 * inputs[0].mean((0, 2, 3))
    torch.testing.assert_close(teacher.running_mean, expected)
    assert teacher.num_batches_tracked == 1 and student.num_batches_tracked == 2
    with torch.no_grad():
        for parameter in algorithm.student.parameters():
            parameter.add_(1.)
    mean, weight = teacher.running_mean.clone(), teacher.weight.clone()
    algorithm.set_progress(Progress(0, 10, 0, 1))
    algorithm.after_step()
    assert torch.equal(teacher.running_mean, mean)
    torch.testing.assert_close(teacher.weight, 0.996 * weight + 0.004 * student.weight)


def test_features_to_be_evaluated_do_not_depend_on_their_batch(make_views):
    algorithm = build('dino', 'resnet')
    algorithm.loss(make_views(4, masked=False))
    algorithm.eval()
    images = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(algorithm.backbone.features(images)[:1], algorithm.backbone.features(images[:1]))


@pytest.mark.parametrize('name', ['IBOT', 'ADCLR', 'PQCL'])
def test_methods_that_read_single_tokens_say_so(name):
    with pytest.raises(InputError, match=f'{name} reads single tokens, which only a VisionTransformer has'):
        MODELS.build(dict(type=name, backbone=BACKBONES['resnet'], **HEAD))


def test_selfpatch_wants_single_tokens_too():
    with pytest.raises(InputError, match='SelfPatch reads single tokens, which only a VisionTransformer has'):
        MODELS.build(dict(type='SelfPatch', backbone=BACKBONES['resnet'], head=dict(cls=HEAD['head'], patch=HEAD['head'])))
