from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from mmdssl.datasets import RevisitedDataset
from mmdssl.datasets.retrieval import read_ground_truth
from mmdssl.errors import InputError
from mmdssl.protocols.descriptors import ImageDescriptor, generalised_mean
from mmdssl.protocols.retrieval import (
    SETTINGS,
    RetrievalMetric,
    average_precision,
    precision_at,
    rank_database,
    ranks_of_positives,
    score_rankings,
)


def test_the_worked_example():
    assert average_precision([0, 2, 5], 3) == pytest.approx(0.678, abs=5e-4)
    plain = np.mean([1 / 1, 2 / 3, 3 / 6])
    assert plain == pytest.approx(0.722, abs=5e-4)
    assert average_precision([0, 1, 2], 3) == 1 and average_precision([], 3) == 0


def test_average_precision_is_the_area_under_the_curve():
    hits = np.random.default_rng(0).random(40) < 0.3
    recalls, precisions = [0.], [1.]
    for n in range(1, 41):
        recalls.append(hits[:n].sum() / hits.sum())
        precisions.append(hits[:n].sum() / n)
    steps = [i for i in range(1, 41) if recalls[i] > recalls[i - 1]]  # trapezoids from just before each positive to it
    area = sum((recalls[i] - recalls[i - 1]) * (precisions[i] + (precisions[i - 1] if i > 1 else 1)) / 2 for i in steps)
    assert average_precision(np.flatnonzero(hits).tolist(), hits.sum()) == pytest.approx(area)


def test_junk_is_as_if_it_were_not_there():
    ranking = np.array([7, 3, 9, 1, 4, 0])
    assert ranks_of_positives(ranking, positives=[9, 0]).tolist() == [2, 5]
    assert ranks_of_positives(ranking, positives=[9, 0], junk=[7, 4]).tolist() == [1, 3]


def test_precision_looks_no_further_than_the_last_positive():
    assert precision_at([0, 2], 1) == 1 and precision_at([0, 2], 2) == 0.5
    assert precision_at([0, 2], 10) == pytest.approx(2 / 3)


def slow_scores(rankings, truth, setting, k):
    """A loop over the lists, as the rules of the benchmark read."""
    averages, precisions = [], []
    for ranking, query in zip(rankings, truth):
        wanted = set(query['easy'] if setting == 'easy' else query['hard'] if setting == 'hard' else query['easy'] + query['hard'])
        junk = set(query['junk'] + (query['hard'] if setting == 'easy' else query['easy'] if setting == 'hard' else []))
        if not wanted:
            continue
        kept = [position for position in ranking.tolist() if position not in junk]
        area, found = 0, 0
        for rank, position in enumerate(kept):
            if position in wanted:
                area += ((found / rank if rank else 1) + (found + 1) / (rank + 1)) / 2 / len(wanted)
                found += 1
        last = max(rank for rank, position in enumerate(kept) if position in wanted) + 1
        averages.append(area)
        precisions.append(np.mean([position in wanted for position in kept[:min(k, last)]]))
    return np.mean(averages), np.mean(precisions)


@pytest.mark.parametrize('setting', SETTINGS)
def test_scores_of_every_setting_equal_a_loop(setting):
    rng = np.random.default_rng(0)
    rankings = np.stack([rng.permutation(30) for _ in range(6)])
    truth = []
    for _ in range(6):
        drawn = rng.permutation(30).tolist()
        truth.append(dict(easy=drawn[:4], hard=drawn[4:9], junk=drawn[9:12]))
    truth[2]['easy'], truth[3]['hard'] = [], []
    found = score_rankings(rankings, truth, setting, k=(1, 5))
    assert found.num_queries == (6 if setting == 'medium' else 5)
    for k in (1, 5):
        average, precision = slow_scores(rankings, truth, setting, k)
        assert (found.average_precision, found.precision[k]) == pytest.approx((average, precision))


def test_ranking_is_by_cosine():
    database = torch.tensor([[3., 0.], [0.1, 0.1], [0., 1.], [1., 0.]])
    assert rank_database(torch.tensor([[1., 0.5]]), database, top=3).tolist() == [[1, 0, 3]]


@pytest.fixture
def root(tmp_path) -> Path:
    """Six photos, of two buildings, and two queries, as ROxford5k; noise of another brightness on each."""
    rng, folder = np.random.default_rng(0), tmp_path / 'roxford5k'
    (folder / 'jpg').mkdir(parents=True)
    scenes = [rng.integers(0, 200, (30, 60, 3)), rng.integers(0, 200, (30, 60, 3))]
    names = [f'photo{i}' for i in range(6)] + ['query0', 'query1']
    for i, name in enumerate(names):
        pixels = scenes[i % 2] + rng.integers(0, 30, (30, 60, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f'jpg/{name}.jpg', quality=95)
    truth = [dict(easy=np.array([0, 2]), hard=[4], junk=[1], bbx=[0., 0., 1., 1.]), dict(easy=[1], hard=np.array([3, 5]), junk=[])]
    content = dict(imlist=names[:6], qimlist=names[6:], gnd=truth)
    (folder / 'gnd_roxford5k.pkl').write_bytes(pickle.dumps(content, protocol=2))
    return tmp_path


def test_images_are_shrunk_and_come_with_their_truth(root):
    dataset = RevisitedDataset(str(root), size=20)
    assert len(dataset) == 8 and dataset.metainfo['num_database'] == 6
    assert dataset.metainfo['truth'][0] == dict(easy=[0, 2], hard=[4], junk=[1])
    assert dataset[7]['image'].shape == (3, 10, 20) and dataset[7]['index'] == 7
    assert RevisitedDataset(str(root), size=100)[0]['image'].shape == (3, 30, 60)  # never enlarged


@pytest.mark.parametrize('protocol', range(6))
def test_ground_truth_of_every_protocol_and_json(tmp_path, protocol):
    content = dict(imlist=['a', 'b'], qimlist=['q'], gnd=[
        dict(easy=np.array([1]), hard=[], junk=np.array([0], np.int32), bbx=np.float64(3))])
    (tmp_path / 'g.pkl').write_bytes(pickle.dumps(content, protocol=protocol))
    (tmp_path / 'g.json').write_text(json.dumps(dict(content, gnd=[dict(easy=[1], hard=[], junk=[0])])))
    for name in ('g.pkl', 'g.json'):
        found = read_ground_truth(tmp_path / name)
        assert found['imlist'] == ['a', 'b'] and found['gnd'][0]['easy'] == [1] and found['gnd'][0]['junk'] == [0]


class Call:
    """Pickles as the call of a function."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize('content, match', [
    (Call(os.system, 'touch hacked'), 'it names posix.system'),
    (Call(eval, '1'), 'it names builtins.eval'),
    (Call(np.load, 'x'), 'it names numpy'),
    ([Call(__import__('_codecs').encode, 'x', 'rot13')], 'bytes in rot13'),
    ([1, 2], 'which has imlist, qimlist and gnd'),
    (dict(imlist=['a'], qimlist=['q'], gnd=[]), '1 queries and truth for 0'),
    (dict(imlist=['a'], qimlist=['q'], gnd=[dict(easy=[1], hard=[], junk=[])]), 'beyond the 1 of the database'),
    (dict(imlist=['a'], qimlist=['q'], gnd=[dict(ok=[0], junk=[])]), 'easy, hard and junk'),
])
def test_a_pickle_of_anything_else_is_refused(tmp_path, monkeypatch, content, match):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'g.pkl').write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match=match):
        read_ground_truth(tmp_path / 'g.pkl')
    assert not (tmp_path / 'hacked').exists()


def test_what_is_missing_is_named_at_once(root):
    with pytest.raises(InputError, match=r'gnd_rparis6k.pkl.* does not exist, nor the same with .json: set data_root'):
        RevisitedDataset(str(root), 'rparis6k')
    (root / 'roxford5k/jpg/photo3.jpg').unlink()
    with pytest.raises(InputError, match='1 of the 8 images .* first .*photo3.jpg'):
        RevisitedDataset(str(root))


def test_descriptors_are_means_over_scales(tiny_backbone):
    model = ImageDescriptor(tiny_backbone, scales=(1., 0.5))
    image = torch.randint(0, 256, (3, 37, 50), dtype=torch.uint8)  # not whole numbers of patches
    pixels = ((image - model.data_preprocessor.mean) / model.data_preprocessor.std)[None]
    half = F.interpolate(pixels, scale_factor=0.5, mode='bilinear', align_corners=False)
    with torch.no_grad():
        wanted = (model.backbone.features(pixels[..., :32, :48]) + model.backbone.features(half[..., :16, :24]))[0] / 2
    found = model([dict(image=image, index=3)])[0]
    assert found['index'] == 3
    torch.testing.assert_close(found['descriptor'], wanted)


def test_descriptors_with_the_generalised_mean(tiny_backbone):
    model = ImageDescriptor(tiny_backbone, extractor=dict(read='class'), gem=4)
    image = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        tokens = model.backbone.forward_tokens(((image - model.data_preprocessor.mean) / model.data_preprocessor.std)[None])
    patches = tokens.patches[0].double().numpy()
    gem = np.mean(np.maximum(patches, 1e-6)**4, axis=0)**0.25
    torch.testing.assert_close(model([dict(image=image, index=0)])[0]['descriptor'].double(),
                               torch.cat([tokens.cls[0].double(), torch.from_numpy(gem)]), rtol=1e-4, atol=1e-5)
    assert generalised_mean(torch.full((1, 5, 1), -2.)).item() == pytest.approx(1e-6)


def test_retrieval_from_the_command_line_with_one_process_and_two(root, tiny_backbone, tiny_weights, evaluated):
    config = 'configs/retrieval/roxford5k.py'
    found = evaluated(config, root)
    assert evaluated(config, root, processes=2) == found
    dataset = RevisitedDataset(str(root))
    model = ImageDescriptor(dict(tiny_backbone, init_cfg=dict(type='SSLPretrained', checkpoint=str(tiny_weights))))
    metric = RetrievalMetric()
    metric.dataset_meta = dataset.metainfo
    results = [(i, model([dataset[i]])[0]['descriptor']) for i in range(8)]
    assert found == pytest.approx(metric.compute_metrics(results[::-1]), abs=1e-3)
    assert found['mAP_medium'] > 90 and set(found) == {
        f'{name}_{setting}' for name in ('mAP', 'mP@1', 'mP@5', 'mP@10') for setting in ('easy', 'medium', 'hard')}
