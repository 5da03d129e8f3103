from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch
from fake_patches import FakePatches
from mmengine.dist import get_rank
from PIL import Image
from processes import run_ranks, run_tool

from mmdssl.errors import InputError
from mmdssl.protocols.moments import Moments
from mmdssl.protocols.positions import PositionMetric, grid_positions, position_directions
from mmdssl.results.records import read_records

GRID = (5, 4)


def patches(values, grid=GRID):
    return FakePatches(values, torch.zeros(len(values), 20, 20, dtype=torch.uint8), grid, 2)


def content(number=30, width=6):
    return torch.randn(number, GRID[0] * GRID[1], width)


def placed(number=30, mixing=None):
    """Six dimensions of content and three of positions, mixed by an orthogonal matrix."""
    positions = grid_positions(GRID).float().expand(number, -1, 2)
    mixing = torch.linalg.qr(torch.randn(9, 9)).Q if mixing is None else mixing
    return torch.cat([content(number), 3 * positions, positions.sum(-1, keepdim=True)], dim=-1) @ mixing


def test_positions_are_centres_row_by_row():
    wanted = [[(row + 0.5) / 2, (column + 0.5) / 3] for row in range(2) for column in range(3)]
    np.testing.assert_allclose(grid_positions((2, 3)), wanted)


def test_features_that_are_positions_tell_them_and_others_do_not():
    mixing = torch.linalg.qr(torch.randn(9, 9)).Q
    found = PositionMetric()(patches(placed(mixing=mixing)), patches(placed(5, mixing)))
    assert [found[name] for name in ('position_r2', 'position_r2_row', 'position_r2_column')] == pytest.approx([100] * 3, abs=1e-3)
    assert abs(found['position_r2_free']) < 5 and found['position_directions'] < 9
    assert abs(PositionMetric(rounds=0)(patches(content()), patches(content()))['position_r2']) < 3


def test_r2_is_scikit_learns_on_other_images():
    from sklearn.linear_model import Ridge
    from sklearn.metrics import r2_score
    bank, queries = (content(number) + grid_positions(GRID).float() @ torch.ones(2, 6) for number in (20, 10))
    bank[..., 0] += 2 * grid_positions(GRID)[:, 0]
    queries[..., 0] += 2 * grid_positions(GRID)[:, 0]
    x, y = bank.flatten(0, 1).double(), grid_positions(GRID).repeat(20, 1)
    fitted = Ridge(float(0.01 * len(x) * x.var(0, correction=0).mean())).fit(x, y)
    given = fitted.predict(queries.flatten(0, 1).double())
    wanted = 100 * r2_score(grid_positions(GRID).repeat(10, 1), given, multioutput='raw_values')
    found = PositionMetric(shrinkage=0.01)(patches(bank), patches(queries))
    assert [found['position_r2_row'], found['position_r2_column']] == pytest.approx(wanted.tolist())
    assert found['position_r2'] == pytest.approx(wanted.mean())


def test_without_the_directions_of_covariance_no_linear_model_tells_anything():
    """In a single round; the weights of the best model leave what varies with them."""
    values = content() @ torch.randn(6, 6) + grid_positions(GRID).float() @ torch.randn(2, 6) * 3
    bank = patches(values)
    found, others = (PositionMetric(by=by, rounds=rounds)(bank, bank) for by, rounds in (('covariance', 9), ('weights', 1)))
    assert found['position_r2'] == others['position_r2'] > 50
    assert found['position_directions'] == others['position_directions'] == 2
    assert abs(found['position_r2_free']) < 1e-3 and others['position_r2_free'] > 5


def test_directions_are_those_of_rounds_of_fits():
    """As RASA does it: fit, orthogonalise, subtract, and again."""
    from sklearn.linear_model import LinearRegression
    values = content() + (grid_positions(GRID).float() @ torch.randn(2, 6)) + grid_positions(GRID).float()[:, :1]**2
    x, y = values.flatten(0, 1).double().numpy(), grid_positions(GRID).repeat(30, 1).numpy()
    moments = Moments(2)
    moments.add(torch.from_numpy(x), torch.from_numpy(y))
    found = position_directions(moments, rounds=2, shrinkage=1e-12, by='weights')
    left = x
    for _ in range(2):
        weights = LinearRegression().fit(left, y).coef_
        first = weights[0] / np.linalg.norm(weights[0])
        second = weights[1] - weights[1] @ first * first
        second /= np.linalg.norm(second)
        left = left - np.outer(left @ first, first) - np.outer(left @ second, second)
    np.testing.assert_allclose(found @ found.T, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(x - x @ found.numpy().T @ found.numpy(), left, atol=1e-6)


def test_other_directions_are_left_alone():
    values = torch.cat([content(), 3 * grid_positions(GRID).float().expand(30, -1, 2)], dim=-1)
    values[..., :6] -= values[..., :6].mean(0)  # not even by chance
    metric = PositionMetric()
    metric(patches(values), patches(values))
    directions = metric.directions[0]
    assert len(directions) == 2 and directions[:, :6].abs().max() < 1e-6
    torch.testing.assert_close(directions[:, 6:].T @ directions[:, 6:], torch.eye(2, dtype=torch.float64))


def test_each_of_several_blocks_has_its_own():
    mixing = torch.linalg.qr(torch.randn(9, 9)).Q
    bank, queries = (torch.cat([torch.randn(number, 20, 9), placed(number, mixing)], dim=-1) for number in (30, 5))
    metric = PositionMetric(extractor=dict(read='patches', blocks=[0, 3]))
    found = metric(patches(bank), patches(queries))
    single = PositionMetric()
    wanted = single(patches(bank[..., 9:]), patches(queries[..., 9:]))
    assert {name: found[f'{name}_2'] for name in wanted} == pytest.approx(wanted, abs=1e-3)
    assert found['position_r2_1'] < 5 and metric.directions.shape[::2] == (2, 9)
    torch.testing.assert_close(metric.directions[1][:2], single.directions[0][:2], rtol=0, atol=1e-4)


def test_a_single_row_has_no_positions():
    with pytest.raises(InputError, match='several patches'):
        PositionMetric()(patches(torch.randn(3, 4, 2), (1, 4)), patches(content()))


def save_metrics(path):
    if 'RANK' in os.environ:
        torch.distributed.init_process_group('gloo')
    torch.manual_seed(0)
    metric = PositionMetric(rounds=3)
    found = metric(patches(content(7) + grid_positions(GRID).float() @ torch.randn(2, 6)), patches(content(1)))
    (path / str(get_rank())).write_text(json.dumps([found, metric.directions.tolist()]))


def test_two_processes_give_what_one_does(tmp_path):
    save_metrics(tmp_path)
    metrics, directions = json.loads((tmp_path / '0').read_text())
    run_ranks(save_metrics, 2, tmp_path)
    for rank in '01':
        found, others = json.loads((tmp_path / rank).read_text())
        assert found == pytest.approx(metrics, abs=1e-3)
        np.testing.assert_allclose(np.transpose(others, (0, 2, 1)) @ others, np.transpose(directions, (0, 2, 1)) @ directions, atol=1e-6)


@pytest.fixture
def camvid(tmp_path):
    """Twenty and ten images of bright and dark patches, brighter from row to row, whose upper pixels are not counted."""
    rng = np.random.default_rng(0)
    for part, number in (('train', 20), ('val', 10)):
        for folder in ('images', 'annotations'):
            (tmp_path / 'camvid' / folder / part).mkdir(parents=True)
        for i in range(number):
            mask = rng.integers(0, 2, (4, 4)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
            pixels = 60 * mask[..., None] + rng.integers(0, 60, (32, 32, 3)) + 4 * np.arange(32)[:, None, None]
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f'camvid/images/{part}/{i}.png')
            mask[:4] = 11
            Image.fromarray(mask).save(tmp_path / f'camvid/annotations/{part}/{i}.png')
    (tmp_path / 'camvid/classes.txt').write_text('road\nsky\n')
    return tmp_path / 'camvid'


def test_protocols_take_the_backbone_without_positions(camvid, tmp_path, tiny_weights):
    """From the command line, with features of their own in the cache."""
    def evaluate(config, checkpoint):
        work_dir = tmp_path / f'work/{config}-{checkpoint.stem}'
        run_tool('test', f'configs/dense/small_{config}_camvid.py', checkpoint, '--data', camvid, '--work-dir', work_dir, '--cfg-options',
                 *(f'{part}.{option}' for part in ('test_dataloader', 'test_cfg.bank') for option in ('num_workers=0', 'dataset.size=32')),
                 f'test_cfg.cache={tmp_path}/cache')
        record, = read_records(work_dir / 'results.jsonl')
        return record

    before = evaluate('positions', tiny_weights)
    free = tmp_path / 'work/positions-tiny/position-free.safetensors'
    after = evaluate('positions', free)
    assert before['metrics']['position_r2'] > 20 and before['metrics']['position_directions'] == 2
    assert after['metrics']['position_r2'] == pytest.approx(before['metrics']['position_r2_free'], abs=0.1) == pytest.approx(0, abs=0.1)
    assert (before['backbone'], after['backbone']) == ('vit-2x16/8', 'vit-2x16/8-position-free')
    assert before['checkpoint'] != after['checkpoint'] and len(list((tmp_path / 'cache').iterdir())) == 4  # two of each
    plain, found = (evaluate('ridge', checkpoint)['metrics'] for checkpoint in (tiny_weights, free))
    assert plain.keys() == found.keys() and plain != found
    assert evaluate('hummingbird', free)['metrics']['mIoU_clean'] > 0
    assert len(list((tmp_path / 'cache').iterdir())) == 4
