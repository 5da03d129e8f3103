from __future__ import annotations

import pytest
from rich.console import Console
from toy import ToyAlgorithm, toy_config

from mmdssl.engine import dry_run


@pytest.mark.parametrize('workers, step, loading, limit, speed', [
    (2, 1., 0.1, 'network', '4.0'),
    (2, 16., 0.1, 'network', '0.250'),
    (2, 1., 1., 'data', '2.0'),  # two workers load two images per second, whatever was prefetched
    (0, 1., 0.1, 'network', '4.0'),
    (0, 1., 0.2, 'data', '4.0'),  # the step contains the loading of its four images
])
def test_the_slower_of_network_and_data_sets_the_pace(train, capsys, workers, step, loading, limit, speed):
    runner = train(**{'train_dataloader.num_workers': workers, 'train_cfg.max_epochs': 1})
    capsys.readouterr()
    Console(width=120).print(dry_run._table(runner, step, loading, images=4))
    out = capsys.readouterr().out
    assert f'{limit} (an image loads in {1000 * loading:.1f} ms, workers: {workers})' in out
    assert f'{speed} images per second' in out


@pytest.mark.parametrize('seconds, images', [(0., 2), (1e9, 4)])
def test_a_slow_step_has_fewer_images_and_the_table_those_of_the_config(tmp_path, capsys, monkeypatch, seconds, images):
    monkeypatch.setattr(dry_run, 'STEP_SECONDS', seconds)
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    monkeypatch.setenv('COLUMNS', '120')
    seen = []
    forward = ToyAlgorithm.loss
    monkeypatch.setattr(ToyAlgorithm, 'loss', lambda self, views: seen.append(len(views)) or forward(self, views))
    dry_run.dry_run(toy_config(tmp_path, auto_scale_lr=dict(enable=True, base_batch_size=8)))
    out = capsys.readouterr().out
    assert seen == [2, 2] if images == 2 else seen[:2] == [2, 2] and set(seen[2:]) == {4} and 3 <= len(seen[2:]) <= 21
    lines = [' '.join(line.split()) for line in out.splitlines()]
    for text in ('│ global batch │ 4 images │', '│ epochs x iterations │ 3 x 6 │', '│ learning rate (highest) │ 0.005 │'):
        assert text in lines
    assert ('MiB per process, with 2 of its 4 images' in out) == (images == 2)


@pytest.mark.parametrize('few, images, times, batch, seconds', [
    (2, 8, (1.4, 2.6), 32, 7.4),  # 1 s whatever the batch, and 0.2 s an image
    (2, 8, (1., 4.), 32, 16.),  # no such part
    (2, 8, (3., 2.), 32, 2.),  # the few were measured in a bad moment
    (2, 2, (1.5, 1.), 32, 16.),
    (2, 32, (1., 4.), 32, 4.),
])
def test_images_that_were_left_out_take_their_share(few, images, times, batch, seconds):
    assert dry_run._with_all(few, times[0], images, times[1], batch) == pytest.approx(seconds)


@pytest.mark.parametrize('seconds, batch, images', [(0.23, 50, 42), (0.23, 49, 43), (1e-9, 50, 50), (100., 50, 2)])
def test_a_step_with_fewer_images_has_an_even_number_of_an_even_batch(seconds, batch, images):
    assert dry_run._in_time(2, seconds, batch) == images
