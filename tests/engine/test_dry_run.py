from __future__ import annotations

import pytest
from rich.console import Console

from mmdssl.engine.dry_run import _table


@pytest.mark.parametrize('workers, step, loading, limit, speed', [
    (2, 1., 0.1, 'network', 4),
    (2, 1., 1., 'data', 2),  # two workers load two images per second, whatever was prefetched
    (0, 1., 0.1, 'network', 4),
    (0, 1., 0.2, 'data', 4),  # the step contains the loading of its four images
])
def test_the_slower_of_network_and_data_sets_the_pace(train, capsys, workers, step, loading, limit, speed):
    runner = train(**{'train_dataloader.num_workers': workers, 'train_cfg.max_epochs': 1})
    capsys.readouterr()
    Console(width=120).print(_table(runner, step, loading))
    out = capsys.readouterr().out
    assert f'{limit} (an image loads in {1000 * loading:.1f} ms, workers: {workers})' in out
    assert f'{speed}.0 images per second' in out
