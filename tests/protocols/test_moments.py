from __future__ import annotations

import numpy as np
import pytest
import torch
from processes import run_ranks
from torch.distributed import init_process_group

from mmdssl.protocols.moments import Moments, Principal, determination, lda, ridge


def rows(number=200, width=6, targets=3):
    """Inputs of several scales that are far from their origin, and targets that depend on them."""
    inputs = torch.randn(number, width) @ torch.randn(width, width) + 5
    return inputs, inputs @ torch.randn(width, targets) / 3 + torch.randn(number, targets) + 1


def moments(inputs, targets=None, weights=None, parts=3):
    found = Moments(0 if targets is None else targets.shape[1])
    for chunk in torch.arange(len(inputs)).chunk(parts):
        found.add(*(None if each is None else each[chunk] for each in (inputs, targets, weights)))
    return found


def test_weights_count_rows():
    inputs, targets = rows(20)
    times = torch.randint(0, 4, (20, ))
    torch.testing.assert_close(moments(inputs, targets, times.double()).sums,
                               moments(inputs.repeat_interleave(times, 0), targets.repeat_interleave(times, 0)).sums)


def test_ridge_is_scikit_learns():
    from sklearn.linear_model import Ridge
    inputs, targets = rows()
    weights = torch.rand(len(inputs), dtype=torch.float64)
    found = moments(inputs, targets, weights)
    for shrinkage in (1e-6, 0.1, 3.):
        mean = (weights[:, None] * inputs).sum(0) / weights.sum()
        variance = ((weights[:, None] * (inputs - mean)**2).sum(0) / weights.sum()).mean()
        wanted = Ridge(alpha=float(shrinkage * variance * weights.sum())).fit(inputs.double(), targets.double(), weights)
        model = ridge(found, shrinkage)
        np.testing.assert_allclose(model.weight, wanted.coef_, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(model.bias, wanted.intercept_, rtol=1e-6)
        np.testing.assert_allclose(model(inputs.double()), wanted.predict(inputs.double()), rtol=1e-5, atol=1e-6)


def test_errors_and_determination_are_those_of_a_loop():
    from sklearn.metrics import r2_score
    (inputs, targets), (others, truth) = rows(), rows(50)
    model, found = ridge(moments(inputs, targets), 0.01), moments(others, truth)
    given = model(others.double())
    np.testing.assert_allclose(found.squared_errors(model), ((given - truth)**2).mean(0), rtol=1e-9)
    np.testing.assert_allclose(determination(found, model), r2_score(truth, given, multioutput='raw_values'), rtol=1e-9)


@pytest.mark.parametrize('shrinkage', [1e-9, 0.3, 1.])
def test_lda_is_scikit_learns(shrinkage):
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    labels = torch.randint(0, 3, (200, ))
    inputs = rows()[0] + torch.randn(3, 6)[labels] * 2
    wanted = LinearDiscriminantAnalysis('lsqr', shrinkage=shrinkage).fit(inputs.double(), labels)
    found = lda(moments(inputs, torch.nn.functional.one_hot(labels, 3)), shrinkage)
    np.testing.assert_allclose(found(inputs.double()).softmax(1), wanted.predict_proba(inputs.double()), rtol=1e-4, atol=1e-9)


def test_shares_of_classes_are_rows_with_weights():
    """A row of which a third is of one class and the rest of another is two rows."""
    inputs = rows(30)[0]
    shares = torch.rand(30, 3, dtype=torch.float64)
    shares /= shares.sum(1, keepdim=True)
    apart = moments(inputs.repeat(3, 1), torch.eye(3).repeat_interleave(30, 0), shares.T.flatten())
    for model in (ridge, lda):
        for one, other in zip(model(moments(inputs, shares), 0.1), model(apart, 0.1)):
            torch.testing.assert_close(one, other)


def test_a_class_without_examples_is_never_the_likeliest():
    inputs = rows(30)[0]
    shares = torch.eye(3)[torch.arange(30) % 2]
    for model in (ridge, lda):
        scores = model(moments(inputs, shares), 0.01)(inputs)
        assert scores.isfinite().all() and set(scores.argmax(1).tolist()) == {0, 1}


def test_constant_inputs_give_the_most_frequent_class():
    shares = torch.eye(3)[torch.tensor([0] * 5 + [2] * 9 + [1] * 6)]
    for model in (ridge, lda):
        assert (model(moments(torch.ones(20, 4), shares), 0.01)(torch.randn(7, 4)).argmax(1) == 2).all()


def test_principal_directions_are_scikit_learns():
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler
    inputs = torch.cat([rows(300)[0], torch.full((300, 1), 0.1)], 1)  # the last one is constant
    scaled = StandardScaler().fit_transform(inputs.double())
    wanted = PCA(3).fit_transform(scaled)
    found = Principal.of(moments(inputs), 3)(inputs.double()).numpy()
    np.testing.assert_allclose(found * np.sign((found * wanted).sum(0)), wanted, rtol=1e-6, atol=1e-6)
    assert Principal.of(moments(inputs), 50)(inputs).shape == (300, 7)


def test_directions_are_removed_from_sums_as_from_rows():
    inputs, targets = rows()
    directions = torch.linalg.qr(torch.randn(6, 2, dtype=torch.float64)).Q.T
    left = inputs.double() - inputs.double() @ directions.T @ directions
    torch.testing.assert_close(moments(inputs, targets).without(directions).sums, moments(left, targets.double()).sums)
    torch.testing.assert_close(moments(inputs, targets).of_inputs(slice(2, 5)).sums, moments(inputs[:, 2:5], targets).sums)


def check_shares(inputs, targets):
    init_process_group('gloo')
    rank = torch.distributed.get_rank()
    found = moments(inputs[rank::2], targets[rank::2]).reduce()
    torch.testing.assert_close(found.sums, moments(inputs, targets).sums, rtol=1e-12, atol=1e-9)
    one = Moments(3)
    if rank:  # the first one has no row
        one.add(inputs, targets)
    torch.testing.assert_close(one.reduce().sums, moments(inputs, targets).sums, rtol=1e-12, atol=1e-9)


def test_two_processes_sum_what_one_does():
    run_ranks(check_shares, 2, *rows())
