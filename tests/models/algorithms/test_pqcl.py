"""PQCL against the equations: the student is asked for a position in a view, the teacher sees the crop at it."""
from __future__ import annotations

import pytest
import torch
from float64_reference import Network, assert_center_moved, assert_equal, cross_entropy, mean, sincos, softmax

from mmdssl.errors import InputError
from mmdssl.models.layers.position import relative_coordinates

SINCOS = dict(position='sincos', mask_token=True)
HEADS = {'shared': ('cls', 'cls'), 'semi-shared': ('query', 'cls'), 'vanilla': ('query', 'query')}


def coordinates(view_box, view_flip, query_box, query_flip, query_grid, anchor) -> list[tuple[float, float]]:
    """The derivation for one view and one query crop, patch by patch, row-major."""
    (x0, y0, w, h), (qx, qy, qw, qh) = view_box.double().tolist(), query_box.double().tolist()
    out = []
    for row in range(query_grid):
        for column in range(query_grid):
            shown = query_grid - 1 - column if query_flip else column
            width, height = (qw / query_grid) / (w / 4), (qh / query_grid) / (h / 4)
            left = (qx + shown * qw / query_grid - x0) * 4 / w
            top = (qy + row * qh / query_grid - y0) * 4 / h
            if view_flip:
                left = 4 - (left + width)
            out.append((left, top) if anchor == 'corner' else (left + width / 2 - 0.5, top + height / 2 - 0.5))
    return out


def query_loss(algorithm, views, masked: bool, heads, center) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Mean over views, images, crops and patches of CE(teacher's patch of the crop alone, student's query).

    Also all raw logits of the teacher.
    """
    teacher, student = Network(algorithm.teacher), Network(algorithm.student)
    crops, query = views['global'], views['query']
    query_grid = query.images.shape[-1] // 8
    terms, teacher_logits = [], []
    for b in range(crops.images.shape[1]):
        targets = [teacher(crop[b], own_grid=algorithm.teacher_position == 'integer')[1] for crop in query.images]
        targets = [[teacher.logits(token, heads[1]) for token in crop] for crop in targets]
        teacher_logits += sum(targets, [])
        for v in range(2):
            mask_token = student.weights['backbone.mask_token'][0, 0]
            positions = []
            for box, flip in zip(query.boxes[:, b], query.flips[:, b]):
                positions += coordinates(crops.boxes[v, b], crops.flips[v, b], box, flip, query_grid, algorithm.anchor)
            queries = [mask_token + sincos(x, y, 16) for x, y in positions]
            tokens = student(crops.images[v, b], crops.masks[v, b] if masked else None, queries)[2]
            terms += [cross_entropy(softmax((target - center) / 0.04), student.logits(token, heads[0]) / 0.1)
                      for target, token in zip(sum(targets, []), tokens)]
    return mean(terms), teacher_logits


@pytest.mark.parametrize('masked, sharing, query, settings', [
    (True, 'shared', (1, 24), {}),
    (True, 'semi-shared', (2, 16), {}),
    (True, 'vanilla', (2, 16), dict(query_weight=0.5)),
    (False, 'shared', (1, 8), dict(anchor='center')),
    (False, 'semi-shared', (1, 16), dict(teacher_position='integer')),
    (False, 'vanilla', (3, 16), dict(anchor='center', teacher_position='integer')),
    (True, 'shared', (1, 32), dict(query_center='shared')),
])
def test_query_loss_and_center_follow_the_equations(make_algorithm, make_views, masked, sharing, query, settings):
    algorithm = make_algorithm('PQCL', backbone=SINCOS, masked=masked, sharing=sharing, **settings)
    views = make_views(masked=masked, local=False, query=query)
    views['global'].flips[0, 0], views['query'].flips[0, 0] = True, True
    owner = 'cls' if settings.get('query_center') == 'shared' else 'query'
    center = algorithm.centers[owner].center.double().clone()
    expected, targets = query_loss(algorithm, views, masked, HEADS[sharing], center)

    losses = algorithm.loss(views)

    assert losses.keys() == {'loss_cls', 'loss_query', 'entropy', 'kl', *['loss_patch'] * masked}
    assert_equal(losses['loss_query'], settings.get('query_weight', 1.) * expected)
    if owner == 'query':
        assert_center_moved(algorithm.centers['query'], center, targets)


@pytest.mark.parametrize('masked', [True, False])
def test_other_losses_are_those_of_the_base_method(make_algorithm, make_views, masked):
    """Class tokens and patches of both networks do not depend on the queries."""
    views = make_views(masked=masked, query=(2, 16))
    base = make_algorithm('IBOT', backbone=SINCOS, masked=masked)
    pqcl = make_algorithm('PQCL', backbone=SINCOS, masked=masked)
    pqcl.load_state_dict(base.state_dict(), strict=False)
    losses = pqcl.loss(views)
    del views.groups['query']
    expected = base.loss(views)
    for name in expected:
        torch.testing.assert_close(losses[name], expected[name], rtol=1e-5, atol=1e-6)


def test_student_sees_no_pixel_of_the_query_crop(make_algorithm, make_views):
    algorithm = make_algorithm('PQCL', backbone=SINCOS)
    views = make_views(query=(1, 16))
    views['query'].images.requires_grad_()
    views['global'].images.requires_grad_()
    loss = algorithm.loss(views)['loss_query']
    loss.backward()
    assert views['query'].images.grad is None and views['global'].images.grad.any()
    with torch.no_grad():
        views['query'].images.neg_()
    assert not torch.isclose(algorithm.loss(views)['loss_query'], loss), 'the teacher does see them'


@pytest.mark.parametrize('anchor', ['corner', 'center'])
def test_query_at_a_patch_gets_the_embedding_of_that_patch(make_algorithm, anchor):
    """Also in a flipped view, where the mirrored patch lies."""
    backbone = make_algorithm('PQCL', backbone=SINCOS).student.backbone
    patches = backbone.positions((4, 4))[1][0].view(4, 4, -1)
    view = torch.tensor([30., 20., 64., 32.])
    for row in range(4):
        for column in range(4):
            query = torch.tensor([30. + 16 * column, 20. + 8 * row, 16., 8.])
            for flip in (False, True):
                at = relative_coordinates(view, torch.tensor(flip), query, torch.tensor(False), 4, 1, anchor)
                token = backbone.embed_query_positions(at[None])[0, 0]
                expected = backbone.mask_token[0, 0] + patches[row, 3 - column if flip else column]
                torch.testing.assert_close(token, expected, rtol=0, atol=1e-6)


def test_views_of_another_size_than_the_frame(make_algorithm, make_views):
    """Queries and patches have one frame, also where the global views are not ``img_size`` wide."""
    algorithm = make_algorithm('PQCL', backbone=dict(SINCOS, img_size=64))
    views = make_views(masked=False, query=(1, 32))
    views['query'].boxes = views['global'].boxes[:1].clone()
    views['query'].flips = views['global'].flips[:1].clone()
    backbone = algorithm.student.backbone
    queries = backbone.embed_query_positions(algorithm.coordinates(views)[0])
    expected = backbone.mask_token + backbone.positions((4, 4))[1]
    torch.testing.assert_close(queries, expected.expand(3, -1, -1), rtol=0, atol=1e-5)


def test_query_crops_of_a_part_of_a_patch_are_refused(make_algorithm, make_views):
    with pytest.raises(InputError, match='query'):
        make_algorithm('PQCL', backbone=SINCOS).loss(make_views(query=(1, 12)))


@pytest.mark.parametrize('settings, message', [
    (dict(anchor='left'), "anchor='left': give 'corner' or 'center'"),
    (dict(teacher_position='any'), "teacher_position='any': give 'stretched' or 'integer'"),
    (dict(backbone=dict(mask_token=True)), "position='sincos'"),
])
def test_settings_that_do_not_fit_are_refused(make_algorithm, make_views, settings, message):
    with pytest.raises(InputError, match=message):
        make_algorithm('PQCL', **dict(dict(backbone=SINCOS, masked=False), **settings)).loss(make_views(query=(1, 16)))
