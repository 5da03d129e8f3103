"""Result records: one line of JSON per evaluation, from which tables are made. The schema only grows."""
from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import warnings
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path

LINES = 65536  # of a text that are in memory at a time
PACKAGES = ('torch', 'torchvision', 'timm', 'mmengine', 'mmcv', 'mmdet', 'mmsegmentation')


def append_record(path: str | Path, **fields) -> None:
    """Append ``fields``, with the time and the versions of the software, to a ``.jsonl`` file.

    Args:
        path: The file; it is made where it is missing.
        fields: At least ``task`` and ``metrics``; also ``checkpoint``, ``config`` and ``dataset``, fingerprints that say what
            exactly was evaluated.
    """
    append_line(path, dict(time=datetime.now(timezone.utc).isoformat(timespec='seconds'), **fields, commit=commit(),
                           versions=versions()))


def append_line(path: str | Path, record: Mapping) -> None:
    """Append a record as it is, on a line of its own also after one that was cut short; it is on disk when this returns."""
    with open(path, 'ab+') as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
        whole = file.read(1) in (b'', b'\n')
        file.write(b'' if whole else b'\n')
        file.write(json.dumps(record).encode() + b'\n')
        file.flush()
        os.fsync(file.fileno())


def read_records(path: str | Path) -> list[dict]:
    """All records of a file, oldest first, without lines that are none; a warning names those."""
    records = []
    for number, line in enumerate(Path(path).read_text(errors='replace').split('\n'), 1):
        try:
            record = json.loads(line) if line.strip() else None
        except (ValueError, RecursionError):
            record = line
        if isinstance(record, dict):
            records.append(record)
        elif record is not None:
            warnings.warn(f'{path}, line {number}: this is no whole record (a run may have been killed while it was written) and is '
                          'left out', stacklevel=2)
    return records


def is_recorded(path: str | Path, fields: Mapping) -> bool:
    """Whether a file has a record of the same evaluation: of the same weights at the same point of the run, on the same data.

    Time, software, the values that came out and their details, and the config, of which a resumed run may have changed parts, tell
    nothing.
    """
    if not Path(path).is_file():
        return False
    known = json.loads(json.dumps(fields))
    identity = known.keys() - {'metrics', 'details', 'config', 'pretrained'}
    return any(all(record.get(key) == known[key] for key in identity) and record.get('metrics', {}).keys() == known['metrics'].keys()
               for record in read_records(path))


def fingerprint_text(lines: Iterable[str]) -> str:
    """A short name for a text, such as a config or the list of a dataset's files."""
    digest, lines, between = hashlib.sha256(), iter(lines), ''
    while some := [*islice(lines, LINES)]:
        digest.update((between + '\n'.join(some)).encode(errors='surrogateescape'))  # names of files need not be UTF-8
        between = '\n'
    return digest.hexdigest()[:16]


def fingerprint_file(path: str | Path) -> str:
    """A short name for the content of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


def standard_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics of mmdet and DAVIS under the names of the published rows, in percent; others as they are.

    COCO's -1, of sizes that no object has, is no result and left out.
    """
    renamed = {}
    for name, value in metrics.items():
        found = re.fullmatch(r'coco/(bbox|segm)_mAP_?(\d*|[sml])', name)
        if found and value == -1:
            continue
        if found:
            kind = dict(bbox='box', segm='mask')[found[1]]
            name, value = f'{kind}_AP{found[2].upper()}', 100 * value
        renamed[re.sub(r'\b([JF])_mean$', r'\1', name)] = round(float(value), 4)
    return renamed


def commit() -> str | None:
    """The commit of a source checkout, with a ``+`` where files were changed; None for an installed package."""
    root = Path(__file__).parents[2]
    if not (root / '.git').exists():
        return None
    git = ['git', '-C', str(root)]
    try:
        head = subprocess.run([*git, 'rev-parse', 'HEAD'], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, 'diff', '--quiet', 'HEAD'], check=False).returncode
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ('+' if changed else '')


def versions() -> dict[str, str]:
    """Versions of this package and of those it stands on, whichever distribution provides them."""
    from mmdssl import __version__
    found = dict(mmdssl=__version__)
    for package in PACKAGES:
        for distribution in (package, f'{package}-lite', f'onedl-{package}', f'onedl-{package}'.replace('mmdet', 'mmdetection')):
            try:
                found[package] = version(distribution)
                break
            except PackageNotFoundError:
                continue
    return found
