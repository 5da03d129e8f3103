from __future__ import annotations

import numpy as np
import pytest
import torch
from colours import ColourBackbone, make_colours
from PIL import Image
from sklearn.metrics import jaccard_score, precision_recall_curve

from mmdssl.datasets import SalientObjects
from mmdssl.errors import InputError
from mmdssl.protocols import SaliencyMetric, TokenCutSaliency
from mmdssl.protocols.saliency import scores_by_threshold

FOLDERS = dict(img_path='JPEGImages', mask_path='masks')


def salient(root, **folders) -> SalientObjects:
    return SalientObjects(str(root), dict(FOLDERS, **folders))


def test_f_at_every_threshold_equals_scikit_learn():
    levels = torch.randint(0, 256, (13, 17)).numpy()
    saliency, truth = (levels - 0.5) / 255, torch.rand(13, 17).numpy() < levels / 300
    found = scores_by_threshold(saliency.clip(0), truth)
    precision, recall, thresholds = precision_recall_curve(truth.ravel(), levels.ravel())
    for k in range(255):  # saliency > k / 255 where the level is at least k + 1
        i = np.searchsorted(thresholds, k + 1)
        p, r = precision[i], recall[i]
        assert found[k] == pytest.approx(1.3 * p * r / (0.3 * p + r) if p * r else 0, abs=1e-12)


def test_f_where_nothing_is_salient_or_predicted():
    nothing, something = np.zeros((4, 4)), np.eye(4)
    assert not scores_by_threshold(nothing, something > 0).any()  # precision 1, recall 0
    assert (scores_by_threshold(nothing, nothing > 0) == 1).all()
    assert not scores_by_threshold(something, nothing > 0).any()
    assert (scores_by_threshold(something, something > 0) == 1).all()


def test_scores_are_means_over_images_of_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    metric, shapes = SaliencyMetric(), [(9, 8), (5, 14), (7, 7)]
    truths, masks, maps = ([rng.random(shape) for shape in shapes] for _ in range(3))
    truths, masks = ([part > 0.6 for part in parts] for parts in (truths, masks))
    metric.process([dict(mask=torch.from_numpy(truth)) for truth in truths],
                   [dict(maps={'': mask.astype(float), 'soft': soft}) for mask, soft in zip(masks, maps)])
    found = metric.compute_metrics(metric.results)
    pairs = [(truth.ravel(), mask.ravel()) for truth, mask in zip(truths, masks)]
    assert found['IoU'] == pytest.approx(100 * np.mean([jaccard_score(*pair) for pair in pairs]))
    assert found['accuracy'] == pytest.approx(100 * np.mean([(truth == mask).mean() for truth, mask in pairs]))

    def f(truth, chosen):
        p, r = (truth & chosen).sum() / max(chosen.sum(), 1), (truth & chosen).sum() / truth.sum()
        return 1.3 * p * r / (0.3 * p + r) if p * r else 0
    assert found['maxF'] == pytest.approx(100 * np.mean([f(*pair) for pair in pairs]))
    curves = [[f(truth, soft > k / 255) for truth, soft in zip(truths, maps)] for k in range(255)]
    assert found['maxF_soft'] == pytest.approx(100 * max(np.mean(curve) for curve in curves))


def test_masks_where_nothing_is_salient(monkeypatch):
    said = []
    monkeypatch.setattr('mmdssl.protocols.saliency.print_log', lambda message, *_: said.append(message))

    def measured(truths):
        metric = SaliencyMetric()
        metric.process([dict(mask=truth) for truth in truths], [dict(maps={'': truth.double().numpy()}) for truth in truths])
        return metric.compute_metrics(metric.results)
    truth, empty = torch.eye(4) > 0, torch.zeros(4, 4, dtype=torch.bool)
    measured([truth])
    assert not said
    measured([truth, empty, truth])
    assert said == ['1 of the 3 masks have no salient pixel; their images count']
    with pytest.raises(InputError, match='no mask has a salient pixel'):
        measured([empty, empty])


def scores(model, dataset) -> dict[str, float]:
    metric, samples = SaliencyMetric(), [dataset[i] for i in range(len(dataset))]
    metric.process(samples, model(samples))
    return metric.compute_metrics(metric.results)


def test_perfect_features_give_perfect_masks_and_shuffled_ones_chance(tmp_path):
    dataset = salient(make_colours(tmp_path / 'even', ragged=False))
    found = scores(TokenCutSaliency(dict(type=ColourBackbone)), dataset)
    assert {name: value for name, value in found.items() if 'bilateral' not in name} == pytest.approx(
        dict(maxF=100, IoU=100, accuracy=100, maxF_eigenvector=100, IoU_eigenvector=100, accuracy_eigenvector=100))
    assert found['maxF_bilateral'] > 99
    share = 100 * np.mean([sample['mask'].float().mean().item() for sample in dataset])
    found = scores(TokenCutSaliency(dict(type=ColourBackbone, shuffled=True)), dataset)
    assert found['IoU'] < share and found['maxF_eigenvector'] < 2 * share


def test_images_are_resized_to_the_nearest_multiple_and_maps_back(tmp_path):
    dataset = salient(make_colours(tmp_path / 'ragged', number=4))
    model = TokenCutSaliency(dict(type=ColourBackbone))
    for sample in dataset:
        maps = model([sample])[0]['maps']
        assert all(found.shape == sample['mask'].shape for found in maps.values())
        assert maps['eigenvector'].min() == 0 and maps['eigenvector'].max() == 1
        height, width = sample['mask'].shape
        rows, columns = round(height / 8), round(width / 8)
        for found in (maps[''], maps['eigenvector']):
            cells = [[found[-(-i * height // rows), -(-j * width // columns)] for j in range(columns)] for i in range(rows)]
            assert (found == [[cells[y * rows // height][x * columns // width] for x in range(width)] for y in range(height)]).all()
    assert scores(model, dataset)['IoU'] > 70


def test_what_is_wrong_with_the_data_is_said(tmp_path):
    root = make_colours(tmp_path / 'data', number=3)
    Image.new('L', (5, 5)).save(root / 'masks/01.png')
    with pytest.raises(InputError, match="01.png' has 5 x 5 pixels and its image 99 x"):
        salient(root)[1]
    (root / 'masks/00.png').write_bytes(b'')
    with pytest.raises(InputError, match="00.png' cannot be decoded"):
        salient(root)[0]
    (root / 'masks/02.png').unlink()
    with pytest.raises(InputError, match="1 files have no mask of the same name in '.*masks', first '.*02.jpg'"):
        salient(root)
    (root / 'JPEGImages/02.jpg').unlink()
    (root / 'JPEGImages/01.jpg').unlink()
    with pytest.raises(InputError, match="1 files have no image of the same name in '.*JPEGImages', first '.*01.png'"):
        salient(root)
    with pytest.raises(InputError, match="gt' is not a folder"):
        salient(root, mask_path='gt')


def test_saliency_from_the_command_line(tmp_path, tiny_backbone, tiny_weights, evaluated):
    root = make_colours(tmp_path / 'ECSSD', number=3)
    (root / 'JPEGImages').rename(root / 'images')
    (root / 'masks').rename(root / 'ground_truth_mask')
    found = evaluated('configs/dense/saliency_ecssd.py', root)
    model = TokenCutSaliency(dict(tiny_backbone, init_cfg=dict(type='SSLPretrained', checkpoint=str(tiny_weights))))
    dataset = salient(root, img_path='images', mask_path='ground_truth_mask')
    assert found == pytest.approx(scores(model, dataset), abs=1e-3)
