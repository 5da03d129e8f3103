"""The report: its numbers are those of the records and the logs, and the page needs nothing but itself."""
from __future__ import annotations

import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from run_folders import lines_of, make_run, record, session

import mmdssl.results.report as report_module
from mmdssl.errors import InputError
from mmdssl.results.charts import Curve, draw_chart, mean_and_spread, thinned
from mmdssl.results.published import published_rows
from mmdssl.results.records import fingerprint_file
from mmdssl.results.report import write_report

VOID = {'meta', 'link', 'img', 'br', 'hr', 'input'}


class Page(HTMLParser):
    """Tables, by the heading above them, and the tags of a page, all of which must be closed.

    Attributes:
        tables: Rows of cells.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.text = path.read_text()
        self.open, self.tags, self.tables, self.images, self.words = [], [], {}, [], []
        self.heading = ''
        self.feed(self.text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag in ('h1', 'h2', 'h3', 'summary'):
            self.heading = ''
        if tag == 'tr':
            self.tables.setdefault(self.heading, []).append([])
        if tag in ('td', 'th'):
            self.tables[self.heading][-1].append('')

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if self.open and self.open[-1] in ('h1', 'h2', 'h3', 'summary'):
            self.heading += data
        if self.open and self.open[-1] in ('td', 'th'):
            self.tables[self.heading][-1][-1] += data

    def row(self, heading: str, first: str) -> dict[str, str]:
        head, *rows = self.tables[heading]
        found, = [row for row in rows if row[0] == first]
        return dict(zip(head, found))


def report(folders, out=None) -> Page:
    return Page(write_report(folders, out).page)


def knn(folder: Path) -> list[float]:
    return [line['metrics']['knn20_top1'] for line in lines_of(folder / 'results.jsonl')]


@pytest.fixture
def three_seeds(tmp_path, monkeypatch) -> list[Path]:
    """Of two methods."""
    monkeypatch.chdir(tmp_path)
    return [make_run(tmp_path / f'{method.lower()}-{seed}', method, seed) for method in ('DINO', 'PQCL') for seed in (0, 1, 2)]


def test_one_run_shows_what_its_log_and_records_say(tmp_path):
    folder = make_run(tmp_path / 'run')
    page = report([folder])
    logged = [line for line in lines_of(folder / '20260101_000000/vis_data/scalars.json') if 'iter' in line]
    facts = {row[0]: row[1] for heading in ('What was trained', 'Its run') for row in page.tables[heading]}
    assert facts['k-NN (k = 20), best'] == f'{max(knn(folder)):.1f}'
    assert facts['k-NN (k = 20), last'] == f'{knn(folder)[-1]:.1f}'
    for name, key in (('loss, last', 'loss'), ('entropy, last', 'entropy'), ('effective rank, last', 'effective_rank')):
        assert facts[name] == f'{logged[-1][key]:.4g}'
    assert facts['highest learning rate'] == f'{max(line["lr"] for line in logged):.3g}'
    assert (facts['training data'], facts['images'], facts['length'], facts['minutes']) == ('data/train', '16', '3 epochs', '30.0')
    head, *rows = page.tables['Every record of run (4)']
    assert [row[head.index('k-NN (k = 20)')] for row in rows] == [f'{value:.1f}' for value in knn(folder)]
    charts = {attributes['aria-label'] for tag, attributes in page.tags if tag == 'svg'}
    assert charts == {'Loss', 'Entropy', 'Effective rank', 'k-NN (k = 20)', 'Learning rate'}
    assert any(word.strip() == 'python tools/train.py configs/small/dino.py --work-dir <it> & more' for word in page.words)


def test_mean_and_spread_over_seeds_are_numpys(three_seeds):
    page = report(three_seeds)
    for method, folders in (('DINO', three_seeds[:3]), ('PQCL', three_seeds[3:])):
        values = np.array([knn(folder) for folder in folders])
        mean = page.row('Runs', f'{method}, mean of 3 seeds')
        shown = {'last': values[:, -1], 'best': values.max(1), 'before training': values[:, 0]}
        for kind in ('last', 'best'):
            assert mean[f'k-NN (k = 20), {kind}'] == f'{shown[kind].mean():.1f} ± {shown[kind].std(ddof=1):.1f}'
        for kind, expected in shown.items():
            row = page.row('knn, vit-1x16/16', f'{method} (mean of 3 seeds, {kind})')
            assert row['knn20 top1'] == f'{expected.mean():.1f} ± {expected.std(ddof=1):.1f}'
        for folder, value in zip(folders, values):
            assert page.row('knn, vit-1x16/16', f'{method} ({folder.name}, last)')['knn20 top1'] == f'{value[-1]:.1f}'
    assert len(page.tables['Runs']) == 1 + 8
    assert page.tables['In what the configs differ'] == [['setting', 'DINO', 'PQCL'], ['model.type', 'DINO', 'PQCL']]


def test_the_best_error_is_the_least(tmp_path):
    folder = make_run(tmp_path / 'run')
    lines = [record(task='depth', method='DepthProbe', epoch=epoch, iteration=4 * epoch, metrics=dict(rmse=value))
             for epoch, value in enumerate((0.9, 0.5, 0.7), 1)]
    (folder / 'results.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
    table = next(rows for heading, rows in report([folder]).tables.items() if heading.startswith('depth'))
    assert [row[-1] for row in table if row[0].endswith('best)')] == ['0.5']


def test_runs_of_one_method_that_differ_in_more_than_the_seed_are_not_averaged(tmp_path):
    folders = [make_run(tmp_path / 'a', seed=0), make_run(tmp_path / 'b', seed=1, lr=0.5)]
    page = report(folders, tmp_path / 'two.html')
    assert 'mean of' not in page.text
    assert page.tables['In what the configs differ'][0] == ['setting', 'DINO (a)', 'DINO (b)']
    assert page.row('In what the configs differ', 'optim_wrapper.optimizer.lr') == {
        'setting': 'optim_wrapper.optimizer.lr', 'DINO (a)': '0.001', 'DINO (b)': '0.5'}


def test_the_page_loads_nothing_and_runs_nothing(three_seeds):
    Image.new('RGB', (40, 30), 'red').save(three_seeds[0] / 'attention.png')
    page = report(three_seeds)
    for tag, attributes in page.tags:
        assert tag not in ('script', 'iframe', 'object', 'embed')
        for name, value in attributes.items():
            assert not name.startswith('on')
            if name in ('src', 'href', 'xlink:href', 'srcset', 'data', 'action', 'poster'):
                assert value.startswith(('#', 'data:')), (tag, value)
    assert set(re.findall(r'url\(([^)]*)\)', page.text)) <= {f'#{name}' for name in re.findall(r' id="([^"]*)"', page.text)}
    assert '@import' not in page.text and 'http' not in page.text
    identifiers = re.findall(r' id="([^"]*)"', page.text)
    assert len(identifiers) == len(set(identifiers))


def test_markdown_has_the_same_tables(three_seeds):
    written = write_report(three_seeds)
    page, lines = Page(written.page), written.markdown.read_text().splitlines()
    rows = [[re.sub(r'\\(.)', r'\1', cell.strip(' ').removeprefix('**').removesuffix('**')) for cell in re.split(r'(?<!\\)\|', line)[1:-1]]
            for line in lines if line.startswith('|') and ':--' not in line]
    shown = [row for table in page.tables.values() for row in table]
    assert sorted(rows) == sorted(shown)


def test_ours_stand_above_the_published_rows_and_belong_to_the_run_of_their_weights(tmp_path):
    """Records of the benchmark name the backbone file that was measured; those of three seeds have a mean."""
    runs, folders, values = [], [], (30., 32., 37.)
    for seed, value in enumerate(values):
        runs.append(make_run(tmp_path / f'run-{seed}', seed=seed))
        (runs[-1] / 'backbone.safetensors').write_bytes(bytes([seed]))
        folders.append(tmp_path / f'benchmark-{seed}')
        folders[-1].mkdir()
        fields = dict(task='detection', dataset_name='coco', framework='mask-rcnn-1x', backbone='vit-s/16', dataset='coco', job='mask-rcnn',
                      recipe='r', weights='pretrained', source=fingerprint_file(runs[-1] / 'backbone.safetensors'), iteration=10, epoch=0,
                      method='MaskRCNN', weights_name=f'run-{seed}/backbone.safetensors', pretrain_method='DINO', pretrain_epochs=3)
        (folders[-1] / 'results.jsonl').write_text(json.dumps(record(**fields, metrics=dict(box_AP=value, mask_AP=value - 5))) + '\n')
    page = report([*runs, *folders], tmp_path / 'report.html')
    head, *rows = page.tables['detection, coco, mask-rcnn-1x, vit-s/16']
    methods = [row[0].split(' [')[0] for row in rows]
    published = published_rows('detection', 'coco', 'mask-rcnn-1x', 'vit-s/16')
    assert methods[0] == 'DINO (mean of 3 seeds, last)' and methods[-len(published):] == [row['method'] for row in published]
    assert rows[0][head.index('box AP')] == f'{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}'
    each = [row[head.index('box AP')] for row, name in zip(rows, methods) if 'backbone.safetensors' in name]
    assert each == ['30.0', '32.0', '37.0']


def test_large_pictures_are_shrunk_and_damaged_ones_are_said(tmp_path, monkeypatch):
    assert report_module.PAGE < 5e6
    monkeypatch.setattr(report_module, 'PAGE', 200_000)
    folder = make_run(tmp_path / 'run')
    (folder / 'vis').mkdir()
    noise = np.random.default_rng(0)
    for name in 'abc':
        Image.fromarray(noise.integers(0, 256, (300, 500, 3), np.uint8)).save(folder / f'vis/{name}.png')
    (folder / 'vis/broken.png').write_bytes(b'\x89PNG none')
    written = write_report([folder])
    page = Page(written.page)
    images = [attributes for tag, attributes in page.tags if tag == 'img']
    assert len(images) == 3 and {image['src'][:22] for image in images} == {'data:image/webp;base64'}
    assert written.page.stat().st_size < 200_000 and {int(image['width']) for image in images} != {500}
    assert any('broken.png is no picture' in word for word in page.words)
    assert written.markdown.read_text().count('](<vis/') == 3
    monkeypatch.setattr(report_module, 'PAGE', 120_000)
    assert any('pictures are left out' in word for word in report([folder]).words)


def test_names_and_settings_are_text_and_nothing_else(tmp_path):
    folder = make_run(tmp_path / '<b>&a|b')
    (folder / 'results.jsonl').write_text(json.dumps(record(method='<i>M', epoch=1, iteration=4, metrics={'<u>': 1.})) + '\n')
    page = report([folder])
    assert not {'b', 'i', 'u'} & {tag for tag, _ in page.tags}
    assert '<i>M (<b>&a|b, last)' in page.words


def test_the_name_of_a_folder_need_not_be_utf8(tmp_path):
    page = report([make_run(tmp_path / 'run').rename(tmp_path / os.fsdecode(b'caf\xe9'))])
    assert any('caf\\udce9' in word for word in page.words)


@pytest.mark.parametrize('change', ['records only', 'no validation', 'nothing logged', 'no config'])
def test_what_is_not_there_is_left_out(change, tmp_path):
    folder = make_run(tmp_path / 'run', validation=change != 'no validation', steps=() if change == 'nothing logged' else (2, 4))
    if change in ('records only', 'no config'):
        (folder / 'dino.py').unlink()
    if change == 'records only':
        for file in folder.glob('*/*'):
            file.rename(tmp_path / file.name)
        next(folder.glob('2*')).rmdir()
    page = report([folder])
    charts = {attributes['aria-label'] for tag, attributes in page.tags if tag == 'svg'}
    assert ('Loss' in charts) == (change in ('no validation', 'no config'))
    assert ('k-NN (k = 20)' in charts) == (change != 'no validation')


def test_a_folder_that_is_no_run_costs_a_sentence(tmp_path):
    (tmp_path / 'empty').mkdir()
    written = write_report([tmp_path / 'empty', make_run(tmp_path / 'run')], tmp_path / 'report.html')
    assert len(written.complaints) == 1
    assert any(word.startswith('Left out: ') and 'empty' in word for word in Page(written.page).words)


@pytest.mark.parametrize('out', ['report.pdf', 'missing/report.html', '.'])
def test_a_page_that_cannot_be_there(out, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match='cannot be the report'):
        write_report([make_run(tmp_path / 'run')], out)


def test_commands_of_a_resumed_run(tmp_path):
    folder = make_run(tmp_path / 'run', steps=range(2, 7, 2))
    session(folder, '20260102_000000', 6, np.random.default_rng(1), (8, 10, 12))
    words = report([folder]).words
    assert '# made by' in words and '# resumed after iteration 6 by' in words


def test_curves_of_seeds_at_the_steps_they_share():
    rng = np.random.default_rng(0)
    runs = [(np.arange(0, 10), rng.normal(size=10)), (np.arange(2, 12), rng.normal(size=10))]
    x, mean, spread = mean_and_spread(runs)
    y = np.stack([runs[0][1][2:], runs[1][1][:8]])
    assert np.array_equal(x, np.arange(2, 10)) and np.allclose(mean, y.mean(0)) and np.allclose(spread, y.std(0, ddof=1))
    assert mean_and_spread([([1], [1.]), ([2], [1.])]) is None


def test_long_curves_keep_their_mean():
    y = np.random.default_rng(0).normal(size=4000)
    x, thin = thinned(np.arange(4000), y, 400)
    assert len(thin) == 400 and np.allclose(thin, y.reshape(400, 10).mean(1)) and np.allclose(x, np.arange(4000).reshape(400, 10).mean(1))
    uneven = thinned(np.arange(1001), np.ones(1001), 400)[1]
    assert np.allclose(uneven, 1)


def test_a_chart_draws_its_values():
    """The points of a curve lie at their heights: the path of the line, read back from the SVG, is linear in the values."""
    y = np.array([3., 1., 2., 5.])
    svg = draw_chart('Loss', 'epoch', [Curve([([0, 1, 2, 3], y)], colour=2)])
    path, = [d for d, style in re.findall(r'<path d="([^"]*)"[^>]*style="([^"]*)"', svg) if 'stroke: var(--series-2)' in style and 'L' in d
             and 'C' not in d]
    points = np.array([[float(value) for value in pair] for pair in re.findall(r'[ML] ([\d.]+) ([\d.]+)', path)])
    slope, offset = np.polyfit(y, points[:, 1], 1)
    assert slope < 0 and np.allclose(slope * y + offset, points[:, 1], atol=1e-3)
