from __future__ import annotations

import os
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.dist import get_rank
from PIL import Image
from processes import run_ranks

from mmdssl.datasets import TransferDataset, ViewsPreprocessor
from mmdssl.datasets.transfer import ABSENT, DIFFICULT, PRESENT
from mmdssl.errors import InputError
from mmdssl.protocols.features import Features
from mmdssl.protocols.logistic import PENALTIES, LogisticMetric, LogisticProblem, holdout, map11, mean_per_class, sweep, top1
from mmdssl.registry import MODELS


def blobs(num_images=300, num_classes=4, dim=12):
    """Features with a large mean and widths of very different size, and their labels."""
    labels = torch.arange(num_images) % num_classes
    centres = torch.randn(num_classes, dim)
    return (centres[labels] + 1.5 * torch.randn(num_images, dim)) * torch.logspace(1, -1, dim) + 5, labels


def slow_objective(features, labels, weight, bias, penalty):
    losses = F.cross_entropy(features.double() @ weight.T + bias, labels)
    return (losses + penalty / 2 * weight.square().sum()).item()


@pytest.mark.parametrize('penalty', [1e2, 1e-1, 1e-4])
def test_the_optimum_is_that_of_scikit_learn(penalty):
    from sklearn.linear_model import LogisticRegression
    features, labels = blobs()
    judge = LogisticRegression(C=1 / (len(features) * penalty), solver='newton-cholesky', tol=1e-12, max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # that the line search ends at rounding errors
        judge.fit(features.double().numpy(), labels.numpy())
    ours = LogisticProblem(features, labels, 4).fit(penalty)
    assert ours.converged
    best = slow_objective(features, labels, torch.from_numpy(judge.coef_), torch.from_numpy(judge.intercept_), penalty)
    assert slow_objective(features, labels, *ours[:2], penalty) == pytest.approx(best, rel=1e-9)
    probabilities = torch.from_numpy(judge.predict_proba(features.double().numpy()))
    torch.testing.assert_close(ours.scores(features).softmax(1), probabilities, rtol=0, atol=1e-5)


def test_one_against_the_rest_is_a_problem_for_each_class():
    from sklearn.linear_model import LogisticRegression
    features, labels = blobs()
    several = torch.stack([labels == 0, labels >= 2], dim=1).long()
    several[:50, 1] = DIFFICULT
    ours = LogisticProblem(features, several, 2).fit(1e-2)
    for k, counted in enumerate(several.T != DIFFICULT):
        judge = LogisticRegression(C=1 / (counted.sum().item() * 1e-2), solver='newton-cholesky', tol=1e-12, max_iter=1000)
        judge.fit(features[counted].double().numpy(), several[counted, k].numpy())
        decisions = torch.from_numpy(judge.decision_function(features.double().numpy()))
        torch.testing.assert_close(ours.scores(features)[:, k], decisions, rtol=1e-4, atol=1e-4)


def test_the_gradient_is_that_of_autograd_and_chunks_change_nothing(monkeypatch):
    features, labels = blobs()
    weight, bias = (torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((4, 12), (4, )))
    loss = F.cross_entropy(features.double() @ weight.T + bias, labels) + 0.3 / 2 * weight.square().sum()
    expected = torch.autograd.grad(loss, (weight, bias))
    for chunk in (1000, 7):
        monkeypatch.setattr('mmdssl.protocols.logistic.CHUNK', chunk)
        value, *slopes = LogisticProblem(features, labels, 4).objective(weight.detach(), bias.detach(), 0.3)
        assert value == pytest.approx(loss.item(), rel=1e-12)
        torch.testing.assert_close(slopes, list(expected))


def test_a_start_elsewhere_and_features_that_move_lead_to_the_same_optimum():
    features, labels = blobs()
    problem = LogisticProblem(features, labels, 4)
    from_zero = problem.fit(1e-3)
    torch.testing.assert_close(problem.fit(1e-3, problem.fit(10.)).scores(features), from_zero.scores(features), rtol=0, atol=1e-3)
    moved = LogisticProblem(features + 100, labels, 4).fit(1e-3)
    torch.testing.assert_close(moved.weight, from_zero.weight, rtol=0, atol=1e-4)


def test_features_without_variance_leave_the_shares_of_the_classes():
    labels = torch.tensor([0, 0, 0, 1])
    classifier = LogisticProblem(torch.full((4, 3), 2.), labels, 2).fit(1e-6)
    torch.testing.assert_close(classifier.scores(torch.full((1, 3), 2.)).softmax(1), torch.tensor([[.75, .25]]).double())


def test_the_sweep_takes_the_largest_of_the_best_penalties():
    features, labels = blobs()
    train, val = holdout(labels)
    found = sweep(LogisticProblem(features[train], labels[train], 4), features[val], labels[val], top1, PENALTIES[::4])
    assert len(found.scores) == 12 and max(found.scores) > found.scores[0]
    grid = sorted(PENALTIES[::4], reverse=True)
    assert found.penalty == grid[int(np.argmax(found.scores))]  # the first of several
    alone = LogisticProblem(features[train], labels[train], 4).fit(found.penalty)
    torch.testing.assert_close(alone.scores(features[val]), found.classifier.scores(features[val]), rtol=0, atol=1e-3)


def test_the_penalties_are_45_from_1e5_to_1e_6():
    assert len(PENALTIES) == 45 and (PENALTIES[0], PENALTIES[-1]) == pytest.approx((1e5, 1e-6))
    ratios = np.divide(PENALTIES[1:], PENALTIES[:-1])
    assert ratios == pytest.approx(ratios[0])


def test_the_holdout_is_a_share_of_every_class_and_always_the_same():
    labels = torch.tensor([0] * 50 + [1] * 10 + [2] * 2 + [3])
    train, val = holdout(labels, 0.2)
    assert torch.bincount(labels[val]).tolist() == [10, 2, 1] and torch.bincount(labels[train]).tolist() == [40, 8, 1, 1]
    assert sorted([*train.tolist(), *val.tolist()]) == list(range(63)) and val[:10].tolist() != list(range(10))
    assert torch.equal(val, holdout(labels, 0.2)[1]) and not torch.equal(val, holdout(labels, 0.2, seed=1)[1])


def test_accuracies_of_a_small_example():
    labels = torch.tensor([0, 0, 0, 1])
    scores = F.one_hot(torch.tensor([0, 0, 1, 1]), 3)
    assert top1(scores, labels) == 75
    assert mean_per_class(scores, labels) == pytest.approx((200 / 3 + 100) / 2)  # class 2 has no image


def slow_map11(scores, labels):
    values = []
    for k in range(scores.shape[1]):
        ranked = [labels[i, k].item() for i in sorted(range(len(scores)), key=lambda i: -scores[i, k].item())]
        ranked = [label for label in ranked if label != DIFFICULT]
        points = [(sum(ranked[:n]) / sum(ranked), sum(ranked[:n]) / n) for n in range(1, len(ranked) + 1)]
        values.append(np.mean([max(p for r, p in points if r >= t / 10 - 1e-9) for t in range(11)]))
    return 100 * np.mean(values)


def test_eleven_point_precision_equals_a_loop():
    scores, labels = torch.randn(60, 3), torch.randint(3, (60, 3))
    assert map11(scores, labels) == pytest.approx(slow_map11(scores, labels))
    perfect = torch.where(labels == PRESENT, 1., -1.)
    assert map11(perfect, labels) == pytest.approx(100)
    assert np.isnan(map11(scores, torch.zeros_like(labels)))
    assert map11(torch.tensor([[3.], [2.], [1.]]), torch.tensor([[ABSENT], [DIFFICULT], [PRESENT]])) == pytest.approx(50)


def bank_and_queries(labels_of=lambda labels: labels):
    values, labels = blobs(600)
    names = [f'{"val" if i % 5 == 0 else "train"}/{i}' for i in range(600)]
    parts = slice(0, 400), slice(400, 600)
    return [Features(values[part], labels_of(labels[part]), list('abcd'), names[part]) for part in parts]


GRID = (10., 1e-1, 1e-3)


def test_the_metric_chooses_fits_to_the_whole_bank_and_tests_once():
    bank, queries = bank_and_queries()
    found = LogisticMetric(penalties=GRID, seed=3)(bank, queries)
    train, val = holdout(bank.labels, seed=3)
    choice = sweep(LogisticProblem(bank.values[train], bank.labels[train], 4), bank.values[val], bank.labels[val], top1, GRID)
    scores = LogisticProblem(bank.values, bank.labels, 4).fit(choice.penalty).scores(queries.values)
    assert found == pytest.approx(dict(
        logistic_top1=top1(scores, queries.labels), logistic_mean_per_class=mean_per_class(scores, queries.labels),
        logistic_val=max(choice.scores), logistic_log10_penalty=np.log10(choice.penalty)))
    assert 50 < found['logistic_top1'] < 100


def test_an_official_part_for_validation_is_told_by_its_names():
    bank, queries = bank_and_queries()
    train, val = LogisticMetric(val='val/')._parts(bank)
    assert val.tolist() == list(range(0, 400, 5)) and len(train) == 320
    assert set(LogisticMetric(val='val/', penalties=GRID)(bank, queries)) == {
        'logistic_top1', 'logistic_mean_per_class', 'logistic_val', 'logistic_log10_penalty'}
    with pytest.raises(InputError, match="of the 400 images of the bank 400 are to train on and 0 to validate on with val='test/'"):
        LogisticMetric(val='test/')(bank, queries)
    with pytest.raises(InputError, match='val=1.5'):
        LogisticMetric(val=1.5)


def test_several_classes_of_an_image():
    def several(labels):
        return torch.stack([torch.where(labels == 0, PRESENT, ABSENT), torch.where(labels >= 2, labels - 1, ABSENT)], dim=1)
    bank, queries = (Features(part.values, part.labels, ['a', 'b'], part.names) for part in bank_and_queries(several))
    found = LogisticMetric('map11', penalties=GRID)(bank, queries)
    assert set(found) == {'logistic_map11', 'logistic_val', 'logistic_log10_penalty'} and 60 < found['logistic_map11'] <= 100
    with pytest.raises(InputError, match="measure='top1' .* does not fit"):
        LogisticMetric()(bank, queries)


def fit_and_save(path):
    if 'RANK' in os.environ:
        torch.distributed.init_process_group('gloo')
    torch.manual_seed(0)
    bank, queries = bank_and_queries()
    scores = LogisticProblem(bank.values, bank.labels, 4).fit(1e-2).scores(queries.values)
    torch.save((scores, LogisticMetric(penalties=GRID)(bank, queries)), f'{path}/{get_rank()}')


def test_two_processes_reach_the_optimum_of_one(tmp_path):
    fit_and_save(tmp_path)
    one = torch.load(tmp_path / '0')
    run_ranks(fit_and_save, 2, tmp_path)
    first, second = (torch.load(tmp_path / name) for name in '01')
    assert torch.equal(first[0], second[0]) and first[1] == second[1] == pytest.approx(one[1])
    torch.testing.assert_close(first[0], one[0], rtol=0, atol=1e-4)


def test_voc_from_the_command_line_with_one_process_and_two(tmp_path, tiny_backbone, tiny_weights, evaluated):
    """Photos whose brightness tells the classes, so that even a network of random weights finds them."""
    folder, rng, config = tmp_path / 'voc/VOCdevkit/VOC2007', np.random.default_rng(0), 'configs/classification/logistic_voc07.py'
    for name in ('Annotations', 'JPEGImages', 'ImageSets/Main'):
        (folder / name).mkdir(parents=True)
    for part, start, end in (('train', 0, 12), ('val', 12, 18), ('test', 18, 30)):
        (folder / f'ImageSets/Main/{part}.txt').write_text('\n'.join(f'{i:06d}' for i in range(start, end)))
    for i in range(30):
        pixels = rng.integers(0, 60, (34, 40, 3)) + np.array([150 * (i % 2), 150 * (i % 3 == 0), 0])
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f'JPEGImages/{i:06d}.jpg')
        found = ['cat'] * (i % 2) + ['dog'] * (i % 3 == 0)
        (folder / f'Annotations/{i:06d}.xml').write_text(''.join(['<annotation>', *(
            f'<object><name>{name}</name><difficult>0</difficult></object>' for name in found), '</annotation>']))
    options = ['test_cfg.bank.num_workers=0', 'test_evaluator.penalties=[1.,0.01,0.0001]']
    found = evaluated(config, tmp_path / 'voc', *options, f'test_cfg.cache={tmp_path}/cache')
    assert evaluated(config, tmp_path / 'voc', *options, 'test_cfg.cache=None', processes=2) == pytest.approx(found)
    backbone = MODELS.build(dict(tiny_backbone, init_cfg=dict(type='SSLPretrained', checkpoint=str(tiny_weights))))
    backbone.init_weights()
    normalise, values = ViewsPreprocessor().normalise, []
    bank, queries = (TransferDataset('voc07', str(tmp_path / 'voc'), split, 32, 32) for split in (['train', 'val'], 'test'))
    for dataset in (bank, queries):
        items = [dataset[i] for i in range(len(dataset))]
        with torch.no_grad():
            values.append((backbone.eval().features(normalise(torch.stack([item['image'] for item in items]))),
                           torch.stack([item['label'] for item in items])))
    (features, labels), (theirs, truth) = values
    choice = sweep(LogisticProblem(features[:12], labels[:12], 20), features[12:], labels[12:], map11, [1., 0.01, 0.0001])
    wanted = map11(LogisticProblem(features, labels, 20).fit(choice.penalty).scores(theirs), truth)
    assert found == pytest.approx(dict(
        logistic_map11=wanted, logistic_val=max(choice.scores), logistic_log10_penalty=np.log10(choice.penalty)), abs=1e-3)
    assert wanted > 90
