"""Write the model zoo, docs/model_zoo.md, and the results in README.md, from the entries in docs/model_zoo.jsonl.

    python tools/analysis/model_zoo.py [RUN ...] [--data NAME] [--command COMMAND] [--address URL]

Each RUN, the work dir of a finished pretraining, becomes an entry, or takes the place of the one with the same file: what its records
say, the SHA-256 of its backbone.safetensors, the command that made it, and where the file can be had. Without RUN the pages are written
anew.
"""
from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from pathlib import Path
from statistics import mean, stdev

from mmdssl.errors import InputError
from mmdssl.results.published import SOURCES, published_rows
from mmdssl.results.runs import Run, read_run

ROOT = Path(__file__).resolve().parents[2]
ENTRIES = ROOT / 'docs/model_zoo.jsonl'
METRIC = 'knn20_top1'
WHEN = 'before', 'after'
# What README.md compares with: detection, because that is what pretraining is for here.
TASK, DATA, FRAMEWORK = 'detection', 'coco', 'mask-rcnn-1x'
NETWORKS = 'vit-s/16', 'resnet50'
DASH = '–'
# What is to be known of the data of entries.
NOTES = {
    'Tiny ImageNet, 20 classes': """\
**Small runs**, five epochs of 10,000 images of 64 px on a processor's core: they show that the methods learn, not how good they are. Their
files are not published; the commands train them anew, at the commit that is named (`+`: with changes that were not committed). `SET` is 20
classes of Tiny ImageNet, sorted into folders: `SET/train` has 500 images a class, `SET/val` the 50 of its validation. The classes are
n01641577, n02106662, n02124075, n02132136, n02279972, n02364673, n02802426, n03201208, n03854065, n03891332, n03970156, n04067472,
n04099969, n04146614, n04507155, n04540053, n07749582, n07873807, n07920052 and n09246464.
""",
}
ZOO = """\
<!-- Written by tools/analysis/model_zoo.py from model_zoo.jsonl: change that, not this. -->
# Model zoo

Backbones that this project has trained, each with its records. `tools/analysis/model_zoo.py` makes an entry of a work dir and writes this
page.
A file's SHA-256 can be given with its address, and is then verified: `https://.../backbone.safetensors#sha256=...`.

{tables}
"""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('runs', nargs='*', type=Path, metavar='RUN')
    parser.add_argument('--data', metavar='NAME', help='what the run was trained and measured on')
    parser.add_argument('--command', help='that made it, where the run does not know it; {config} and {seed} stand for those of the run')
    parser.add_argument('--address', metavar='URL',
                        help='of the folder with RUN/backbone.safetensors; without it a file counts as not published')
    args = parser.parse_args(argv)
    entries = {entry['sha256']: entry for entry in read_entries()}
    try:
        for folder in args.runs:
            entry = make_entry(read_run(folder), args)
            entries[entry['sha256']] = entry
    except InputError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    ENTRIES.write_text(''.join(f'{json.dumps(entry)}\n' for entry in entries.values()))
    write_pages(list(entries.values()))
    return 0


def read_entries() -> list[dict]:
    return [json.loads(line) for line in ENTRIES.read_text().splitlines()] if ENTRIES.is_file() else []


def make_entry(run: Run, args: argparse.Namespace) -> dict:
    """
    Raises:
        InputError: The run is not finished, or does not tell what an entry needs.
    """
    knn = [record for record in run.records if METRIC in record['metrics']]
    if not run.finished or run.backbone_file is None or len(knn) < 2 or knn[0]['epoch'] != 0:
        raise InputError(f"'{run.folder}' is no finished pretraining with a k-NN evaluation before and after it")
    known = args.command and args.command.format(config=run.config_file.stem, seed=run.seed)
    command = known or next((session['command'] for session in run.sessions if 'command' in session), None)
    if not command or not args.data:
        raise InputError(f"'{run.folder}' needs --data, and --command where the run does not know its own")
    last = knn[-1]
    address = args.address and f'{args.address.rstrip("/")}/{run.folder.name}/{run.backbone_file.name}'
    return dict(name=run.folder.name, method=run.method, backbone=last['backbone'], seed=run.seed, data=args.data, epochs=last['epoch'],
                iterations=last['iteration'], before=knn[0]['metrics'], after=last['metrics'], checkpoint=last['checkpoint'],
                config=last['config'], dataset=last['dataset'], commit=last['commit'], versions=last['versions'], command=command,
                sha256=hashlib.sha256(run.backbone_file.read_bytes()).hexdigest(), bytes=run.backbone_file.stat().st_size, address=address)


def write_pages(entries: list[dict]) -> None:
    for path, text in pages(entries).items():
        path.write_text(text)


def pages(entries: list[dict]) -> dict[Path, str]:
    """The text of the pages that hold what the entries say."""
    readme = ROOT / 'README.md'
    begin, end = '<!-- results -->', '<!-- end of results -->'
    before, _, rest = readme.read_text().partition(begin)
    table = f'{begin}\n{summary(entries)}\n{end}'
    return {ROOT / 'docs/model_zoo.md': zoo(entries), readme: before + table + rest.partition(end)[2]}


def zoo(entries: list[dict]) -> str:
    tables = []
    for data in dict.fromkeys(entry['data'] for entry in entries):
        lines = [f'## {data}', '', NOTES.get(data, ''),
                 '| run | method | network | epochs | 20-NN, random weights | 20-NN | file | commit |',
                 '|:--|:--|:--|--:|--:|--:|:--|:--|']
        ours = [entry for entry in entries if entry['data'] == data]
        for entry in ours:
            file = f'[file]({entry["address"]})' if entry['address'] else 'not published'
            cells = (entry['name'], entry['method'], entry['backbone'], entry['epochs'], *(f'{entry[when][METRIC]:.1f}' for when in WHEN),
                     f'{file}, {entry["bytes"] / 2**20:.1f} MiB', f'`{short(entry["commit"])}`')
            lines.append(f'| {" | ".join(map(str, cells))} |')
        lines += ['', 'SHA-256 of the files, and the commands:', '', '```text']
        lines += [f'{entry["sha256"]}  {entry["name"]}\n    {entry["command"]}' for entry in ours]
        tables.append('\n'.join([*lines, '```']))
    return ZOO.format(tables='\n\n'.join(tables))


def summary(entries: list[dict]) -> str:
    """A row per method, its seeds together, beside the best published row of the same method."""
    groups: dict[tuple, list[dict]] = {}
    for entry in entries:
        groups.setdefault((entry['method'], entry['backbone'], entry['data'], entry['epochs']), []).append(entry)
    lines = ['| method | ours, small: 20-NN of random weights | after pretraining | epochs, seeds '
             '| published: COCO box AP / mask AP | of | read in |',
             '|:--|--:|--:|--:|--:|:--|:--|']
    for (method, _, _, epochs), group in sorted(groups.items(), key=lambda item: item[0][0].lower()):
        before, after = ([entry[when][METRIC] for entry in group] for when in WHEN)
        row = published(method)
        theirs = (f'{row["metrics"]["box_AP"]} / {row["metrics"]["mask_AP"]}', f'{row["backbone"]}, {row["pretrain_epochs"]} epochs',
                  f'{SOURCES[row["source"]].partition(": ")[2]}, {row["location"]}') if row else (DASH, ) * 3
        cells = row['method'] if row else method, spread(before), spread(after), f'{epochs}, {len(group)}', *theirs
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines)


def published(method: str) -> dict | None:
    """The row of a method with the highest box AP, of the networks that are compared."""
    rows = [row for row in published_rows(TASK, DATA, FRAMEWORK) if plain(row['method']) == plain(method) and row['backbone'] in NETWORKS]
    return max(rows, key=lambda row: row['metrics']['box_AP'], default=None)


def short(commit: str | None) -> str:
    return DASH if commit is None else commit[:10] + '+' * commit.endswith('+')


def plain(name: str) -> str:
    return re.sub(r'\W', '', name.lower())


def spread(values: list[float]) -> str:
    return f'{mean(values):.1f}' + (f' ± {stdev(values):.1f}' if len(values) > 1 else '')


if __name__ == '__main__':
    sys.exit(main())
