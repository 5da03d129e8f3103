"""Result records: one line of JSON per evaluation, from which tables are made. The schema only grows."""
from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterable
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import Tensor, nn

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


def fingerprint_weights(network: nn.Module) -> str:
    """A short name for the parameters and buffers of a network."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()[:16]


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


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
