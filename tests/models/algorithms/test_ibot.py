"""iBOT against the equations: class tokens of masked views, masked patches, and the three ways to share prototypes."""
from __future__ import annotations

import pytest
import torch
from float64_reference import Network, assert_center_moved, assert_equal, cls_loss, cross_entropy, mean, softmax

from mmdssl.errors import InputError
from mmdssl.registry import MODELS
from mmdssl.schedules import Progress

MASK_TOKEN = dict(mask_token=True)
HEADS = {'shared': ('cls', 'cls'), 'semi-shared': ('patch', 'cls'), 'vanilla': ('patch', 'patch')}


def patch_loss(teacher: Network, student: Network, views, center, heads, temperature) -> torch.Tensor:
    """Mean over views and images of the mean over masked patches of CE(teacher, student); none masked counts as 0."""
    per_view = []
    for images, masks in zip(views['global'].images, views['global'].masks):
        per_image = []
        for image, mask in zip(images, masks):
            _, targets, _ = teacher(image)
            _, patches, _ = student(image, mask)
            total, count = torch.zeros((), dtype=torch.float64), 0
            for target, patch, is_masked in zip(targets, patches, mask.flatten()):
                if is_masked:
                    target = softmax((teacher.logits(target, heads[1]) - center) / temperature)
                    total = total + cross_entropy(target, student.logits(patch, heads[0]) / 0.1)
                    count += 1
            per_image.append(total / max(count, 1))
        per_view.append(mean(per_image))
    return mean(per_view)


@pytest.mark.parametrize('sharing', HEADS)
def test_losses_and_centers_follow_the_equations(make_algorithm, make_views, sharing):
    algorithm = make_algorithm('IBOT', backbone=MASK_TOKEN, sharing=sharing, patch_weight=0.3)
    views = make_views()
    assert views['global'].masks.sum((2, 3)).min() == 0, 'one view must have no masked patch'
    centers = {stream: center.center.double().clone() for stream, center in algorithm.centers.items()}
    teacher, student = Network(algorithm.teacher), Network(algorithm.student)
    crops = views['global']
    teacher_cls = [[teacher.logits(teacher(image)[0]) for image in view] for view in crops.images]
    student_cls = [[student.logits(student(image, mask)[0]) for image, mask in zip(view, masks)]
                   for view, masks in zip(crops.images, crops.masks)]
    student_cls += [[student.logits(student(image)[0]) for image in view] for view in views['local'].images]
    expected_cls = cls_loss(teacher_cls, student_cls, centers['cls'], 0.04)
    expected_patch = patch_loss(teacher, student, views, centers['patch'], HEADS[sharing], 0.04)

    losses = algorithm.loss(views)

    assert_equal(losses['loss_cls'], expected_cls)
    assert_equal(losses['loss_patch'], 0.3 * expected_patch)
    all_patches = [patch for image in crops.images.flatten(0, 1) for patch in teacher(image)[1]]
    assert_center_moved(algorithm.centers['cls'], centers['cls'], sum(teacher_cls, []))
    assert_center_moved(algorithm.centers['patch'], centers['patch'],
                        [teacher.logits(patch, HEADS[sharing][1]) for patch in all_patches])


def test_batch_without_a_masked_patch(make_algorithm, make_views):
    algorithm = make_algorithm('IBOT', backbone=MASK_TOKEN)
    views = make_views()
    crops = views['global']
    crops.masks = torch.zeros_like(crops.masks)
    crops.mask_index, crops.mask_weight = crops.mask_index[:0], crops.mask_weight[:0]
    losses = algorithm.loss(views)
    assert losses['loss_patch'] == 0
    algorithm.parse_losses(losses)[0].backward()
    unused = [name for name, p in algorithm.named_parameters() if p.requires_grad and p.grad is None]
    assert not unused, 'such a batch on one process must not make the others wait for its gradients'


def test_without_masks_it_is_dino(make_algorithm, make_views):
    views = make_views()
    ibot, dino = make_algorithm('IBOT', masked=False), make_algorithm('DINO')
    dino.load_state_dict(ibot.state_dict())
    ibot_losses, dino_losses = ibot.loss(views), dino.loss(views)
    assert ibot_losses.keys() == dino_losses.keys()
    torch.testing.assert_close(ibot_losses['loss_cls'], dino_losses['loss_cls'], rtol=1e-6, atol=0)


def test_semi_shared_teacher_averages_the_class_prototypes_of_the_student(make_algorithm):
    algorithm = make_algorithm('IBOT', backbone=MASK_TOKEN, sharing='semi-shared', momentum=0.)
    algorithm.after_step()
    assert set(algorithm.teacher.head.last_layer) == {'cls'}
    assert torch.equal(algorithm.teacher.head.last_layer['cls'].weight, algorithm.student.head.last_layer['cls'].weight)


@pytest.mark.parametrize('sharing, owners', [('shared', ['cls']), ('semi-shared', ['cls', 'patch']),
                                             ('vanilla', ['cls', 'patch'])])
def test_prototypes_that_the_student_owns(make_algorithm, sharing, owners):
    algorithm = make_algorithm('IBOT', backbone=MASK_TOKEN, sharing=sharing)
    assert list(algorithm.student.head.last_layer) == owners
    assert len(algorithm.frozen_parameters()) == 2 * len(owners)


def test_views_without_masks_are_refused(make_algorithm, make_views):
    with pytest.raises(InputError, match='come without masks: add mask='):
        make_algorithm('IBOT', backbone=MASK_TOKEN).loss(make_views(masked=False))


@pytest.mark.parametrize('grid', [2, 8])
def test_masks_of_another_patch_size_are_refused(make_algorithm, make_views, grid):
    views = make_views()
    crops = views['global']
    crops.masks = torch.ones(2, 3, grid, grid, dtype=torch.bool)
    crops.mask_index = torch.arange(crops.masks.numel())
    crops.mask_weight = torch.full((crops.masks.numel(), ), 1 / grid ** 2)
    with pytest.raises(InputError, match='patch_size'):
        make_algorithm('IBOT', backbone=MASK_TOKEN).loss(views)


def test_unknown_sharing_is_refused(make_algorithm):
    with pytest.raises(InputError, match="IBOT has sharing='all': give 'shared', 'semi-shared' or 'vanilla'"):
        make_algorithm('IBOT', sharing='all')


def test_streams_have_teacher_temperatures_of_their_own(tiny_backbone, make_views):
    head = dict(num_prototypes=8, hidden_dim=8, bottleneck_dim=4)
    backbone = dict(tiny_backbone, mask_token=True)
    same, own = (MODELS.build(dict(type='mmdssl.IBOT', backbone=backbone, head=head, teacher_temperature=temperature))
                 for temperature in ((0.05, 0.05, 0), dict(cls=(0.05, 0.05, 0), patch=(0.02, 0.06, 3))))
    own.load_state_dict(same.state_dict())
    for algorithm in (same, own):
        algorithm.set_progress(Progress(1, 8, 1, 8))
    views = make_views()
    before, after = same.loss(views), own.loss(views)
    assert before['loss_cls'] == after['loss_cls'] and before['loss_patch'] != after['loss_patch']
    assert (own.temperature_of('cls'), own.temperature_of('patch')) == pytest.approx((0.05, 0.04))  # half of the ramp
    with pytest.raises(InputError, match='teacher_temperature is of cls, and IBOT has the streams cls, patch'):
        MODELS.build(dict(type='mmdssl.IBOT', backbone=backbone, head=head, teacher_temperature=dict(cls=(0.04, 0.04, 0))))
