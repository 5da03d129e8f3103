"""ADCLR against the equations: query crops of one patch, shown with both views to both networks."""
from __future__ import annotations

import pytest
import torch
from float64_reference import Network, assert_center_moved, assert_equal, cls_loss, cross_entropy, mean, softmax

from mmdssl.errors import InputError
from mmdssl.models.layers.attention import QUERY_KEYS


def outputs(network: Network, views, masks=None):
    """Raw logits of class tokens ``[view][image]`` and of queries ``[view][image][query]``, and all patch tokens."""
    cls, queries, patches = [], [], []
    for v, view in enumerate(views['global'].images):
        cls.append([]), queries.append([])
        for b, image in enumerate(view):
            pixels = [network.pixels(crop[b]) for crop in views['query'].images]
            c, p, q = network(image, None if masks is None else masks[v, b], pixels)
            cls[-1].append(network.logits(c))
            queries[-1].append([network.logits(token) for token in q])
            patches += p
    return cls, queries, patches


@pytest.mark.parametrize('masked', [False, True])
@pytest.mark.parametrize('query_center', ['own', 'shared'])
def test_losses_and_centers_follow_the_equations(make_algorithm, make_views, masked, query_center):
    algorithm = make_algorithm('ADCLR', backbone=dict(mask_token=masked), masked=masked, query_weight=0.25,
                               query_center=query_center)
    views = make_views(masked=masked, query=(3, 8))
    teacher, student = Network(algorithm.teacher), Network(algorithm.student)
    centers = {stream: center.center.double().clone() for stream, center in algorithm.centers.items()}
    teacher_cls, teacher_queries, _ = outputs(teacher, views)
    student_cls, student_queries, _ = outputs(student, views, views['global'].masks)
    student_cls += [[student.logits(student(image)[0]) for image in view] for view in views['local'].images]
    expected_cls = cls_loss(teacher_cls, student_cls, centers['cls'], 0.04)
    center = centers['query' if query_center == 'own' else 'cls']
    terms = []
    for t, s in ((0, 1), (1, 0)):
        for b in range(3):
            for q in range(3):
                target = softmax((teacher_queries[t][b][q] - center) / 0.04)
                terms.append(cross_entropy(target, student_queries[s][b][q] / 0.1))

    losses = algorithm.loss(views)

    assert ('loss_patch' in losses) == masked
    assert_equal(losses['loss_cls'], expected_cls)
    assert_equal(losses['loss_query'], 0.25 * mean(terms))
    seen = dict(cls=sum(teacher_cls, []))
    if query_center == 'own':
        seen['query'] = [logits for view in teacher_queries for image in view for logits in image]
    assert set(algorithm.centers) == {*seen, *['patch'] * masked}
    for stream, logits in seen.items():
        assert_center_moved(algorithm.centers[stream], centers[stream], logits)


def test_queries_need_no_parameter(make_algorithm):
    adclr, dino = make_algorithm('ADCLR'), make_algorithm('DINO')
    shapes = [{name: p.shape for name, p in algorithm.named_parameters()} for algorithm in (adclr, dino)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize('masked', [False, True])
def test_class_tokens_do_not_depend_on_the_queries(make_algorithm, make_views, masked):
    """All losses but the queries' are those of the base method."""
    views = make_views(masked=masked, query=(5, 8))
    base = make_algorithm('IBOT', backbone=dict(mask_token=masked), masked=masked)
    adclr = make_algorithm('ADCLR', backbone=dict(mask_token=masked), masked=masked)
    adclr.load_state_dict(base.state_dict(), strict=False)
    losses = adclr.loss(views)
    del views.groups['query']
    expected = base.loss(views)
    for name in expected:
        torch.testing.assert_close(losses[name], expected[name], rtol=1e-5, atol=1e-6)


def test_query_tokens_are_the_pixels_without_a_position(make_algorithm, make_views):
    algorithm = make_algorithm('ADCLR')
    views = make_views(masked=False, query=(4, 8))
    tokens = algorithm.query_tokens(algorithm.student.backbone, views)
    network = Network(algorithm.student)
    assert tokens.shape == (2, 3, 4, 16)
    for v in range(2):
        for b in range(3):
            for q in range(4):
                assert_equal(tokens[v, b, q], network.pixels(views['query'].images[q, b]))


@pytest.mark.parametrize('query_keys', QUERY_KEYS)
def test_only_the_bidirectional_ablation_lets_the_image_read_the_queries(make_algorithm, make_views, query_keys):
    algorithm = make_algorithm('ADCLR', backbone=dict(query_keys=query_keys))
    views = make_views(masked=False, query=(3, 8))
    views['query'].images.requires_grad_()
    tokens = algorithm.student_tokens(views, algorithm.query_tokens(algorithm.student.backbone, views))
    gradient, = torch.autograd.grad(tokens['cls'].square().sum(), views['query'].images, retain_graph=True)
    assert bool(gradient.any()) == (query_keys == 'bidirectional')
    assert torch.autograd.grad(tokens['query'].square().sum(), views['query'].images)[0].any()


def test_query_crops_of_another_size_are_refused(make_algorithm, make_views):
    with pytest.raises(InputError, match='pixel queries are 16 px, a patch is 8 px'):
        make_algorithm('ADCLR').loss(make_views(masked=False, query=(2, 16)))


def test_unknown_center_is_refused(make_algorithm):
    with pytest.raises(InputError, match="ADCLR has query_center='none': give 'own' or 'shared'"):
        make_algorithm('ADCLR', query_center='none')
