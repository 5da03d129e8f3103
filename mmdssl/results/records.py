"""Result records: one line of JSON per evaluation, from which tables are made. The schema only grows."""
from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ('torch', 'torchvision', 'timm', 'mmengine', 'mmcv', 'mmdet', 'mmsegmentation')


def append_record(path: str | Path, **fields) -> None:
    """Append ``fields``, with the time and the versions of the software, to a ``.jsonl`` file.

    Args:
        path: The file; it is made where it is missing.
        fields: At least ``task`` and ``metrics``; also ``checkpoint``, ``config`` and ``dataset``, fingerprints that say what
            exactly was evaluated.
    """
    record = dict(time=datetime.now(timezone.utc).isoformat(timespec='seconds'), **fields, commit=commit(),
                  versions=versions())
    with open(path, 'a') as file:
        file.write(json.dumps(record) + '\n')


def read_records(path: str | Path) -> list[dict]:
    """All records of a file, oldest first."""
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def fingerprint_text(lines: Iterable[str]) -> str:
    """A short name for a text, such as a config or the list of a dataset's files."""
    return hashlib.sha256('\n'.join(lines).encode()).hexdigest()[:16]


def fingerprint_file(path: str | Path) -> str:
    """A short name for the content of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


def standard_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics of mmdet and DAVIS under the names of the published rows, in percent; others as they are."""
    renamed = {}
    for name, value in metrics.items():
        found = re.fullmatch(r'coco/(bbox|segm)_mAP_?(\d*|[sml])', name)
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
        for distribution in (package, f'onedl-{package}', f'onedl-{package}'.replace('mmdet', 'mmdetection')):
            try:
                found[package] = version(distribution)
                break
            except PackageNotFoundError:
                continue
    return found
