from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fake_patches import FakePatches, perfect_values, random_masks
from mmengine.dist import get_rank
from processes import run_ranks

from mmdssl.errors import InputError
from mmdssl.protocols.closed_form import ClosedFormMetric, segment
from mmdssl.protocols.moments import Affine

CLASSES, SIZE, PATCH = 3, 24, 4


def patches(number=12, values=None, **kwargs):
    """Masks of whole patches, and features that tell them."""
    coarse = random_masks(number, SIZE // PATCH, CLASSES)
    masks = coarse.repeat_interleave(PATCH, 1).repeat_interleave(PATCH, 2)
    given = perfect_values(masks, PATCH, CLASSES) if values is None else values(coarse)
    return FakePatches(given, masks, coarse.shape[1:], CLASSES, **kwargs)


def test_perfect_features_find_every_patch():
    found = ClosedFormMetric()(patches(), patches(5))
    # pixels between two classes are interpolated: what is lost is lost at borders
    queries = patches(5)
    smooth = F.interpolate(queries.values.transpose(1, 2).unflatten(2, queries.grid), (SIZE, SIZE), mode='bilinear').argmax(1)
    assert (smooth == queries.masks)[queries.masks != 255].float().mean() > 0.85
    assert min(found['mIoU_ridge'], found['mIoU_lda']) > 75


def test_perfect_features_of_the_size_of_masks_are_perfect():
    masks = random_masks(12, 8, CLASSES)
    data = FakePatches(perfect_values(masks, 1, CLASSES), masks, (8, 8), CLASSES)
    found = ClosedFormMetric()(data, data)
    assert (found['mIoU_ridge'], found['mIoU_lda']) == (100, 100)


@pytest.mark.parametrize('values', [lambda coarse: torch.ones(len(coarse), 36, 5), lambda coarse: torch.randn(len(coarse), 36, 2)],
                         ids=['constant', 'random'])
def test_features_without_content_give_the_most_frequent_class(values):
    queries = patches(6, values)
    found = ClosedFormMetric(shrinkages=(1e-3, ))(patches(40, values), queries)
    pixels = torch.tensor([(queries.masks == number).sum() for number in range(CLASSES)])
    for name in ('ridge', 'lda'):
        assert found[f'mIoU_{name}'] == pytest.approx(100 * (pixels.max() / pixels.sum()).item() / CLASSES, abs=0.5)


def test_it_is_scikit_learn_on_pixels():
    """Each pixel has the features of its patch, and there is one sample for each."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.linear_model import Ridge
    from sklearn.metrics import jaccard_score
    masks, features = random_masks(6, 12, CLASSES), torch.randn(6, 9, 4)
    features[..., :3] += 2 * perfect_values(masks, 4, CLASSES)
    bank, queries = (FakePatches(features[part], masks[part], (3, 3), CLASSES) for part in (slice(0, 4), slice(4, 6)))
    pixels = features[:4].unflatten(1, (3, 3)).repeat_interleave(4, 1).repeat_interleave(4, 2)
    counted = masks[:4] != 255
    x, y = pixels[counted].double().numpy(), masks[:4][counted].numpy()
    found = ClosedFormMetric(shrinkages=(0.1, ))(bank, queries)
    fitted = dict(ridge=Ridge(0.1 * len(x) * x.var(0).mean()).fit(x, np.eye(CLASSES)[y]).predict,
                  lda=LinearDiscriminantAnalysis('lsqr', shrinkage=0.1).fit(x, y).decision_function)
    for name, scores in fitted.items():
        maps = torch.tensor(scores(features[4:].flatten(0, 1).double())).view(2, 3, 3, CLASSES).permute(0, 3, 1, 2)
        classes = F.interpolate(maps, (12, 12), mode='bilinear').argmax(1)
        counted = masks[4:] != 255
        wanted = jaccard_score(masks[4:][counted], classes[counted], average='macro')
        assert found[f'mIoU_{name}'] == pytest.approx(100 * wanted)


def test_the_shrinkage_is_the_best_on_images_that_are_held_out():
    from sklearn.linear_model import Ridge
    from sklearn.metrics import jaccard_score
    bank = patches(8, lambda coarse: 3 * torch.randn(len(coarse), 36, 60) + 2 * coarse.flatten(1).clamp(max=3)[..., None])
    shrinkages = (1e-6, 0.01, 0.1, 1.)
    held = ClosedFormMetric()._held_out(bank)
    assert held.sum() == 2
    labels = bank.masks[:, ::PATCH, ::PATCH].flatten(1)
    counted = labels != 255
    x, y = bank.values[~held][counted[~held]].double().numpy(), labels[~held][counted[~held]]
    scores = []
    for shrinkage in shrinkages:
        fitted = Ridge(shrinkage * len(x) * x.var(0).mean()).fit(x, np.eye(CLASSES)[y])
        found = fitted.predict(bank.values[held][counted[held]]).argmax(1)
        scores.append(jaccard_score(labels[held][counted[held]], found, average='macro'))
    assert scores.count(max(scores)) == 1 and max(scores) > scores[0]
    found = ClosedFormMetric(['ridge'], shrinkages)(bank, bank)
    assert 10**found['ridge_log10_shrinkage'] == pytest.approx(shrinkages[int(np.argmax(scores))])
    assert found['mIoU_ridge'] == ClosedFormMetric(['ridge'], [shrinkages[int(np.argmax(scores))]])(bank, bank)['mIoU_ridge']


def test_crops_of_an_image_are_held_out_together():
    bank = patches(20, names=[f'{i % 10}.png' for i in range(20)])
    held = ClosedFormMetric(val=0.3)._held_out(bank)
    assert held[:10].equal(held[10:]) and held.sum() == 6


def test_one_image_cannot_be_divided():
    with pytest.raises(InputError, match='take more images'):
        ClosedFormMetric()(patches(1), patches(1))


def test_scores_are_interpolated_between_the_centres_of_patches():
    model = Affine(torch.tensor([[1.], [0.]]), torch.tensor([0., 0.5]))
    values = torch.tensor([[[0.], [1.]]])  # 1 x 2 patches; equal to the bias of the second class in the middle
    assert segment(model, values, (1, 2), (1, 8)).tolist() == [[[1, 1, 1, 1, 0, 0, 0, 0]]]


def save_metrics(path):
    if 'RANK' in os.environ:
        torch.distributed.init_process_group('gloo')
    torch.manual_seed(0)
    (path / str(get_rank())).write_text(json.dumps(ClosedFormMetric()(patches(7), patches(4))))


def test_two_processes_give_the_scores_of_one(tmp_path):
    save_metrics(tmp_path)
    one = (tmp_path / '0').read_text()
    run_ranks(save_metrics, 2, tmp_path)
    assert [(tmp_path / name).read_text() for name in '01'] == [one, one]
