"""Tables of results, ours above published ones, as text, Markdown and HTML. Every number comes from a record."""
from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from rich.console import Group
from rich.table import Table
from rich.text import Text

from mmdssl.results.published import SOURCES, published_rows

DASH = '–'
# The columns that published rows fill; other metrics of ours follow.
METRICS = {
    'knn': ('knn_top1', ),
    'linear': ('top1', 'top5'),
    'finetune': ('top1', ),
    'transfer-linear': ('accuracy', ),
    'transfer-finetune': ('accuracy', ),
    'retrieval': ('mAP_medium', 'mAP_hard'),
    'detection': ('box_AP', 'box_AP50', 'box_AP75', 'mask_AP', 'mask_AP50', 'mask_AP75'),
    'segmentation': ('mIoU', 'aAcc', 'mAcc'),
    'video-segmentation': ('J&F', 'J', 'F'),
    'hummingbird': ('mIoU_hbird', ),
    'linear-leopart': ('mIoU_leopart', ),
    'linear-dinov3': ('mIoU', ),
    'linear-ibot': ('mIoU', ),
    'overclustering': ('mIoU_k500', ),
    'discovery-lost': ('corloc', ),
    'discovery-tokencut': ('corloc', ),
    'saliency-tokencut': ('maxF', 'IoU', 'accuracy', 'maxF_bilateral', 'IoU_bilateral', 'accuracy_bilateral'),
    'pose-propagation': ('PCK@0.1', 'PCK@0.2'),
    'part-propagation': ('mIoU', ),
    'correspondence': ('PCK_probe3d', ),
    'depth': ('rmse', 'delta1'),
}
# Percentages, of which more is better; and what is the better the less of it there is.
SCORES = re.compile(r'top[15]$|mean_per_class|[m_]ap|nmi|ari|accuracy|_val$|iou|corloc|jaccard|maxf|pck|found$|delta1|_r2'
                    r'|(^|/)[jf]([&_]|$)')
ERRORS = re.compile(r'rmse|abs_rel|decay')
RECALLED = '†'
STYLE = """\
body { font: 15px/1.4 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em }
body { color: #222; background: #fff }
table { border-collapse: collapse; margin: .5em 0 }
th, td { padding: .2em .7em; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap }
th:first-child, td:first-child { text-align: left }
.ours td { background: #fff3c4; font-weight: 600 }
.notes { color: #555; font-size: 13px; padding-left: 1.5em }
div { overflow-x: auto }
"""


@dataclass(frozen=True)
class Row:
    """A line of a table.

    Attributes:
        cells: One per column, the first says what was measured.
        ours: Highlight it.
        note: A footnote; rows with the same one share it.
    """
    cells: Sequence[str]
    ours: bool = False
    note: str = ''


@dataclass(frozen=True)
class Spread:
    """A metric of several runs.

    Attributes:
        mean: Their mean.
        deviation: Their sample standard deviation.
    """
    mean: float
    deviation: float


@dataclass(frozen=True)
class Section:
    """A table with its title, footnotes and, below them, sentences."""
    title: str
    columns: Sequence[str]
    rows: Sequence[Row]
    sentences: Sequence[str] = field(default=())

    @property
    def notes(self) -> list[str]:
        """The footnotes; number n of the text is entry n - 1."""
        return list(dict.fromkeys(row.note for row in self.rows if row.note))

    def marked(self, row: Row) -> list[str]:
        """The cells of a row, the first one with the number of its footnote."""
        mark = f' [{self.notes.index(row.note) + 1}]' if row.note else ''
        return [row.cells[0] + mark, *row.cells[1:]]


def compare(records: Iterable[dict]) -> list[Section]:
    """A section per evaluation: our records and the published rows of the same backbone, head and schedule.

    Args:
        records: Of :class:`mmdssl.engine.hooks.RecordHook`; also, where known, ``weights`` (``'random'`` or others),
            ``weights_name``, ``pretrain_method``, ``pretrain_epochs``, and ``changes``, a list of what differs from the
            config.
    """
    evaluations: dict[tuple, list[dict]] = {}
    for record in records:
        key = tuple(record.get(name) for name in ('task', 'dataset_name', 'framework', 'backbone'))
        evaluations.setdefault(key, []).append(record)
    return [_section(*key, ours) for key, ours in evaluations.items()]


def _section(task: str, dataset: str | None, framework: str | None, backbone: str | None, ours: list[dict]) -> Section:
    published = published_rows(task, dataset, framework, backbone) if dataset else []
    names = [name for name in METRICS.get(task, ()) if any(name in row['metrics'] for row in (*ours, *published))]
    names += [name for record in ours for name in record['metrics'] if name not in names]
    names = list(dict.fromkeys(names))
    published = [row for row in published if row['metrics'].keys() & names]
    rows = [Row([label(record), *_cells(record, names)], ours=True, note=_own_note(record)) for record in ours]
    rows += [Row([name, DASH, *_values(values, names)]) for name, values in baselines(ours).items()]
    rows += [Row([_method(row), *_cells(row, names)], note=_note(row)) for row in published]
    title = ', '.join(filter(None, (task, dataset, framework, backbone)))
    recalled = [f'{RECALLED} Recalled, not read in its source: check it before it is quoted.'] * any(map(_is_recalled, published))
    return Section(title, ['method', 'epochs', *(name.replace('_', ' ') for name in names)], rows, recalled)


def baselines(records: Iterable[dict]) -> dict[str, dict[str, float]]:
    """What the records' values can be compared with that needs no network: names, and the metrics of each."""
    return {name: metrics for record in records for name, metrics in record.get('details', {}).get('baseline', {}).items()}


def label(record: dict) -> str:
    """What the weights of a record are called in a table."""
    if record.get('weights') == 'random':
        return 'random weights'
    method, name = record.get('pretrain_method'), record.get('weights_name', 'ours')
    return f'{method} ({name})' if method else name


def is_error(name: str) -> bool:
    """Whether a metric is the better, the less it is."""
    return ERRORS.search(name.lower()) is not None


def is_score(name: str) -> bool:
    """Whether a metric is a percentage, of which more is better."""
    return SCORES.search(name.lower()) is not None and not is_error(name)


def improvement(name: str, before: float | Spread | None, after: float | Spread | None) -> str:
    """How much better a metric has become, with its sign: what an error has lost is gained; a dash for what is neither score nor error.

    It is the difference of the two numbers as they are printed, so that a table agrees with itself.
    """
    if before is None or after is None or not (is_score(name) or is_error(name)):
        return DASH
    before, after = (Decimal(number(name, value.mean if isinstance(value, Spread) else value)) for value in (before, after))
    return f'{before - after if is_error(name) else after - before:+}'


def number(name: str, value: float | Spread | None) -> str:
    """A metric as it is printed: percentages with one decimal, seconds and errors of depth with three digits; a dash for what is missing,
    and for COCO's -1."""
    if isinstance(value, Spread):
        return f'{number(name, value.mean)} ± {number(name, value.deviation)}'
    if value is None or '_AP' in name and value < 0:  # in records of old
        return DASH
    return f'{value:.3g}' if re.search('seconds|rmse|abs_rel', name) else f'{value:.1f}'


def _cells(row: dict, names: list[str]) -> list[str]:
    epochs = DASH if row.get('weights') == 'random' else str(row.get('pretrain_epochs', DASH))
    return [epochs, *_values(row['metrics'], names)]


def _values(metrics: dict, names: Iterable[str]) -> list[str]:
    return [number(name, metrics.get(name)) for name in names]


def _own_note(record: dict) -> str:
    changes = f'with {", ".join(record["changes"])}' if record.get('changes') else ''
    return '; '.join(filter(None, (_setting(record), changes)))


def _method(row: dict) -> str:
    return f'{row["method"]} {RECALLED}' if _is_recalled(row) else row['method']


def _is_recalled(row: dict) -> bool:
    return row.get('mark') == 'recalled'


def _note(row: dict) -> str:
    version = f'as of {row["version"]}' if 'version' in row else ''
    found = 'in a thread, not in a table' if row.get('mark') == 'issue' else ''
    return '; '.join(filter(None, (f'{SOURCES[row["source"]]}, {row["location"]}', version, found, _setting(row), row.get('note'))))


def _setting(row: dict) -> str:
    return ', '.join(f'{key.replace("_", " ")}: {value}' for key, value in (row.get('setting') or {}).items())


def to_text(sections: Iterable[Section]) -> Group:
    """For the console."""
    parts = []
    for section in sections:
        table = Table(title=Text(section.title), title_justify='left')
        for i, column in enumerate(section.columns):
            table.add_column(Text(column), justify='right' if i else 'left', overflow='fold')
        for row in section.rows:
            table.add_row(*map(Text, section.marked(row)), style='bold yellow' if row.ours else None)
        notes = [f'[{i}] {note}' for i, note in enumerate(section.notes, 1)]
        parts += [table, *map(Text, (*notes, *section.sentences, ''))]
    return Group(*parts)


def to_markdown(sections: Iterable[Section], title: str) -> str:
    return '\n'.join([f'# {as_markdown(title)}', '', *map(section_to_markdown, sections)])


def section_to_markdown(section: Section, level: int = 2) -> str:
    """A section below a heading of a level from 1 to 6."""
    lines = [f'{"#" * level} {as_markdown(section.title)}', '', _markdown_row(section.columns),
             _markdown_row([':--', *['--:'] * (len(section.columns) - 1)], str)]
    lines += [_markdown_row(section.marked(row), _bold if row.ours else as_markdown) for row in section.rows]
    lines += ['', *(f'- \\[{i}\\] {as_markdown(note)}' for i, note in enumerate(section.notes, 1)), '']
    lines += [line for sentence in section.sentences for line in (as_markdown(sentence), '')]
    return '\n'.join(lines)


def as_markdown(text: str) -> str:
    """Text without meaning for Markdown."""
    return re.sub(r'([\\`*_\[\]<>|#])', r'\\\1', ' '.join(text.split()))


def _bold(text: str) -> str:
    return f'**{as_markdown(text)}**'


def _markdown_row(cells: Iterable[str], write=as_markdown) -> str:
    return f'| {" | ".join(map(write, cells))} |'


def to_html(sections: Iterable[Section], title: str) -> str:
    """A page that needs no other file."""
    body = [f'<h1>{html.escape(title)}</h1>']
    for section in sections:
        head = ''.join(f'<th>{html.escape(column)}</th>' for column in section.columns)
        rows = []
        for row in section.rows:
            cells = ''.join(f'<td>{html.escape(cell)}</td>' for cell in section.marked(row))
            rows.append(f'<tr{" class=ours" * row.ours}>{cells}</tr>')
        notes = ''.join(f'<li>{html.escape(note)}</li>' for note in section.notes)
        body += [f'<h2>{html.escape(section.title)}</h2>', f'<div><table><tr>{head}</tr>', *rows, '</table></div>']
        body += [f'<ol class=notes>{notes}</ol>'] * bool(notes)
        body += [f'<p>{html.escape(sentence)}</p>' for sentence in section.sentences]
    head = ['<!doctype html>', '<html lang=en>', '<meta charset=utf-8>', f'<title>{html.escape(title)}</title>']
    return '\n'.join([*head, f'<style>\n{STYLE}</style>', *body, ''])
