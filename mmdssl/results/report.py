"""A report of one or several runs: a page that needs nothing but itself, and its text and tables in Markdown."""
from __future__ import annotations

import base64
import io
import math
import os
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from mmdssl.checkpoint.files import whole_file
from mmdssl.errors import InputError
from mmdssl.home import command
from mmdssl.results.charts import Curve, draw_chart
from mmdssl.results.runs import Run, read_runs
from mmdssl.results.summary import (
    Group,
    differences,
    every_record,
    group_runs,
    loss_of_quality,
    main_metric,
    readable,
    results,
    runs_table,
    trained,
)
from mmdssl.results.tables import as_markdown, section_to_markdown

PAGE = 4_500_000  # bytes of a page, at most
WIDEST, NARROWEST = 1400, 320  # pictures
# What is drawn of the training log: the title of a chart and the scalars in it.
TERMS = 'Terms of the loss'
CHARTS = (('Loss', 'loss'), (TERMS, r'(?!loss$).*loss.*'), ('Entropy', '.*entropy.*'), ('Effective rank', 'effective_rank'))
RATE = 'Learning rate', 'lr'
MOST = 24  # pictures of a run
MANY = 25  # rows of a table that one would rather unfold


class Written(NamedTuple):
    """
    Attributes:
        page: The HTML file.
        markdown: The Markdown file beside it.
        complaints: Sentences about what is not in it.
    """
    page: Path
    markdown: Path
    complaints: list[str]


@dataclass(frozen=True)
class Picture:
    """A picture of a run, as the ``src`` of an ``<img>``."""
    caption: str
    file: Path
    src: str
    width: int
    height: int


def write_report(folders: Sequence[str | Path], out: str | Path | None = None) -> Written:
    """Write a report of some work dirs.

    Args:
        folders: The work dirs.
        out: The page, ``report.html`` by default, in the work dir if there is one, in the current folder if there are several. The
            Markdown is beside it.

    Raises:
        InputError: None of the folders is a work dir, or the page cannot be there.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    runs, complaints = read_runs(folders)
    out = Path(out or (runs[0].folder / 'report.html' if len(runs) == 1 else 'report.html'))
    if out.is_dir() or out.suffix not in ('.html', '.htm') or not out.absolute().parent.is_dir():
        raise InputError(f"'{out}' cannot be the report: give --out a name that ends in .html, in a folder that exists")
    groups = group_runs(runs)
    difference = differences(groups)
    content = dict(
        title=_title(groups),
        notes=[*(f'Left out: {complaint}.' for complaint in complaints), *_notes(runs)],
        overview=[section for section in (trained(groups), runs_table(groups)) if section.rows],
        results=results(groups), difference=difference, many=MANY,
        charts=_charts(groups), legend=[group.name for group in groups] if len(groups) > 1 else [],
        seeds=any(len(group.runs) > 1 for group in groups),
        records=[section for run in runs for section in every_record(run)],
        configs=[(group.name, group.runs[0].config_file.read_text(errors='replace')) for group in groups if group.runs[0].config_file],
        commands=[(run.name, commands(run)) for run in runs],
        command=command('report', *(shown(run.folder) for run in runs), '--out', shown(out)))
    template = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True,
                           undefined=StrictUndefined).get_template('report.html')
    room = PAGE - len(template.render(**content, pictures=[]).encode(errors='backslashreplace'))
    pictures, left_out = _pictures(runs, room)
    content['notes'] += left_out
    _write(out, template.render(**content, pictures=pictures))
    markdown = out.with_suffix('.md')
    _write(markdown, _markdown(content, pictures, markdown))
    return Written(out, markdown, complaints)


def _write(path: Path, text: str) -> None:
    with whole_file(path) as partial:
        partial.write_text(text, encoding='utf-8', errors='backslashreplace')


def _title(groups: Sequence[Group]) -> str:
    runs = [run for group in groups for run in group.runs]
    if len(runs) == 1:
        return f'{groups[0].name}: {runs[0].name}' if groups[0].name != runs[0].name else runs[0].name
    names = [group.name for group in groups]
    named = ' and '.join(filter(None, (', '.join(names[:-1]), names[-1]))) if len(names) < 5 else f'{len(names)} configs'
    return f'{named}: {len(runs)} runs'


def _notes(runs: Iterable[Run]) -> list[str]:
    return [f'{run.name}: {note}' for run in runs for note in [*run.notes, *filter(None, [loss_of_quality(run)])]]


def commands(run: Run) -> list[tuple[str, str]]:
    """What made a run, as far as it is known, and what would repeat and use it: sentences and commands."""
    found = []
    for i, session in enumerate(run.sessions):
        if isinstance(session.get('command'), str):
            began = 'Started' if not session.get('iteration') else f'Resumed after iteration {session["iteration"]:,}'
            found.append((f'{began} by' if i or began != 'Started' else 'Made by', session['command']))
    if run.config_file and run.scalars:
        processes = run.sessions[-1].get('processes', 1) if run.sessions else 1
        repeat = command('train', shown(run.config_file), processes=processes)
        found.append(('Repeated by', f'{repeat} {shlex.join(["--work-dir", f"{shown(run.folder)}-again"])}'))
    if run.backbone_file:
        found.append(('Measured by', command('benchmark', shown(run.backbone_file))))
    return found


def shown(path: Path) -> str:
    """A path as one types it in the current folder."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith('..') else relative


def _charts(groups: Sequence[Group]) -> list[tuple[str, str]]:
    """Titles and ``<svg>``."""
    runs = [run for group in groups for run in group.runs]
    epochs = all(run.epoch_length for run in runs if run.scalars or run.records)
    charts: dict[str, list] = {}

    def add(title: str, pattern: str) -> None:
        names = sorted({name for run in runs for line in run.scalars for name in line if re.fullmatch(pattern, name)})
        charts[title] = [(name, group, [_logged(run, name, epochs) for run in group.runs]) for name in names for group in groups]
    for title, pattern in CHARTS:
        add(title, pattern)
    for record in (record for run in runs for record in run.records if 'iteration' in record and main_metric(record)):
        name = main_metric(record)
        charts.setdefault(readable(name), [(name, group, [_measured(run, record['task'], name, epochs) for run in group.runs])
                                           for group in groups])
    add(*RATE)
    drawn = []
    for title, series in charts.items():
        series = [(name, group, [(x, y) for x, y in curves if len(x)]) for name, group, curves in series]
        series = [each for each in series if each[2]]
        names = list(dict.fromkeys(name for name, _, _ in series))
        first = {name: group for name, group, _ in reversed(series)}
        curves = [Curve(found, groups.index(group) if len(groups) > 1 else names.index(name), names.index(name) if len(groups) > 1 else 0,
                        readable(name) if len(names) > 1 and group is first[name] else '') for name, group, found in series]
        if curves and (title != TERMS or len(names) > 1):
            drawn.append((title, draw_chart(title, 'epoch' if epochs else 'iteration', curves)))
    return drawn


def _logged(run: Run, name: str, epochs: bool) -> tuple[list[float], list[float]]:
    points = [(line['step'], line[name]) for line in run.scalars if name in line and math.isfinite(line[name])]
    return _scaled(points, run, epochs)


def _measured(run: Run, task: str, name: str, epochs: bool) -> tuple[list[float], list[float]]:
    points = [(record['iteration'], record['metrics'][name]) for record in run.records
              if record['task'] == task and 'iteration' in record and record['metrics'].get(name) is not None]
    return _scaled(points, run, epochs)


def _scaled(points: list[tuple[int, float]], run: Run, epochs: bool) -> tuple[list[float], list[float]]:
    return [x / run.epoch_length if epochs else x for x, _ in points], [y for _, y in points]


def _pictures(runs: Sequence[Run], room: int) -> tuple[list[Picture], list[str]]:
    """The pictures of all runs, in the largest size in which they take no more than ``room`` bytes, and what is left out."""
    files = [(run, file) for run in runs for file in run.pictures[:MOST]]
    crowded = [f'{run.name} has {len(run.pictures)} pictures, of which {MOST} are here.' for run in runs if len(run.pictures) > MOST]
    width = WIDEST
    while True:
        pictures, damaged = [], []
        for run, file in files:
            caption = f'{run.name}: {file.relative_to(run.folder)}' if len(runs) > 1 else str(file.relative_to(run.folder))
            try:
                pictures.append(_picture(file, caption, width))
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
                damaged.append(f'{caption} is no picture that can be read and is left out ({type(error).__name__}).')
        sizes = list(accumulate(len(picture.src) for picture in pictures))
        if not sizes or sizes[-1] <= room:
            return pictures, crowded + damaged
        if width == NARROWEST:
            fitting = sum(size <= room for size in sizes)
            return pictures[:fitting], [*crowded, *damaged, f'{len(pictures) - fitting} pictures are left out: with them the page would be '
                                        f'larger than {PAGE / 1e6:g} MB.']
        width = max(NARROWEST, round(0.9 * width * math.sqrt(max(room, 1) / sizes[-1])))


def _picture(file: Path, caption: str, width: int) -> Picture:
    with Image.open(file) as image:
        image = image.convert('RGBA' if image.mode in ('RGBA', 'LA', 'P') else 'RGB')
    if image.width > width:
        image = image.resize((width, max(1, round(image.height * width / image.width))), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    image.save(data, 'WEBP', quality=85)
    return Picture(caption, file, f'data:image/webp;base64,{base64.b64encode(data.getvalue()).decode()}', *image.size)


def _markdown(content: dict, pictures: Sequence[Picture], path: Path) -> str:
    lines = [f'# {as_markdown(content["title"])}', '', *(f'- {as_markdown(note)}' for note in content['notes']), '']
    lines += map(section_to_markdown, [*content['overview'], *content['results']])
    if content['difference']:
        lines.append(section_to_markdown(content['difference']))
    lines += map(section_to_markdown, content['records'])
    if pictures:
        lines += ['## Pictures', '']
        for picture in pictures:
            file = os.path.relpath(picture.file, path.absolute().parent).replace('\\', '/')
            lines += [f'![{as_markdown(picture.caption)}](<{file}>)', '']
    lines += ['## Commands', '']
    for name, found in content['commands']:
        for sentence, line in found:
            lines += [f'{as_markdown(name)}: {sentence.lower()}', '', '```bash', line, '```', '']
    lines += ['This report:', '', '```bash', content['command'], '```', '']
    return '\n'.join(lines)
