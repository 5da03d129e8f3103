"""Checkpoints from the web, kept by their address."""
from __future__ import annotations

import hashlib
import http.client
import logging
import re
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import torch
from filelock import FileLock
from mmengine.logging import print_log
from rich.progress import wrap_file

from mmdssl.checkpoint.files import whole_file
from mmdssl.checkpoint.kinds import check_kind
from mmdssl.errors import InputError

TIMEOUT = 30  # seconds without a byte

# The end of a name by the custom of torch.hub and OpenMMLab: the first digits of the SHA-256. Decimal ones alone are a date or a count.
HASH_IN_NAME = re.compile(r'-(?!\d+\.)([0-9a-f]{8,64})\.[a-z]+$')
HASH_IN_ADDRESS = re.compile(r'sha256=([0-9a-fA-F]{8,64})')


def is_address(path: str | Path) -> bool:
    return str(path).startswith(('http://', 'https://'))


def fetch(address: str) -> Path:
    """Download a file, unless it is there in the version that the server has now.

    Files are kept in the folder of ``torch.hub`` under names that begin with a hash of the address. Where the server names
    versions (ETag), it is asked whether there is a new one; without a connection, the file that is there is used, which is
    said in the log. What arrives is compared with the SHA-256 of which the name ends with the first digits
    (``resnet50-19c8e357.pth``), or which the caller has put behind the address (``...pth#sha256=19c8e357``, at least 8 digits).

    Args:
        address: Of http or https.

    Raises:
        InputError: There is no such file, no connection, no space, or something else came than was asked for.
    """
    url, _, note = address.partition('#')
    name = Path(urlsplit(url).path).name or 'checkpoint'
    stated = HASH_IN_ADDRESS.fullmatch(note)
    if note and not stated:
        raise InputError(f'{address} has #{note} behind the address: that is sha256= and at least 8 hexadecimal digits')
    found = HASH_IN_NAME.search(name)
    digits = stated[1].lower() if stated else found[1] if found else ''
    folder = Path(torch.hub.get_dir(), 'checkpoints')
    target = folder / f'{hashlib.sha256(url.encode()).hexdigest()[:12]}-{name}'
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(f'{target}.lock'):  # of several processes, one downloads
            _refresh(url, target, digits)
        if stated:
            _check_hash(url, _sha256(target), digits, f'delete {target} and try again')
    except HTTPError as error:
        raise InputError(f'{url} cannot be downloaded: the server answers {error.code} ({error.reason}): check the address') from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = getattr(error, 'reason', None) or error
        raise InputError(f'{url} cannot be downloaded to {folder} ({reason}): check the connection and the space on the disk, or '
                         'download it elsewhere and give its path') from None
    return target


def _refresh(url: str, target: Path, digits: str) -> None:
    """Bring the file up to date."""
    note = target.with_name(f'{target.name}.etag')
    if target.exists() and not note.exists():
        return
    known = note.read_text() if target.exists() else None
    headers = {'User-Agent': 'mmdssl', **({'If-None-Match': known} if known else {})}
    try:
        response = urlopen(Request(url, headers=headers), timeout=TIMEOUT)
    except OSError as error:
        if known is None:
            raise
        if getattr(error, 'code', None) != 304:  # not modified
            print_log(f'{url} cannot be asked for a newer version ({error}): using {target}, which was downloaded before', 'current',
                      logging.WARNING)
        return
    with response:
        tag = response.headers.get('ETag')
        if known is not None and tag == known:
            return
        _save(response, url, target, digits)
    if tag:
        note.write_text(tag)
    else:
        note.unlink(missing_ok=True)


def _save(response: http.client.HTTPResponse, url: str, target: Path, digits: str) -> None:
    length, digest = response.headers.get('Content-Length'), hashlib.sha256()
    with whole_file(target) as partial:
        with open(partial, 'wb') as file, wrap_file(response, int(length or 0), description=target.name, transient=True) as reader:
            while chunk := reader.read(1 << 20):
                digest.update(chunk)
                file.write(chunk)
            size = file.tell()
        if length and size != int(length):
            raise InputError(f'{url} was cut short while it was downloaded ({size} of {length} bytes): try again')
        check_kind(partial, name=url)
        _check_hash(url, digest.hexdigest(), digits, 'download it again, or ask its source')


def _check_hash(url: str, found: str, digits: str, advice: str) -> None:
    if not found.startswith(digits):
        raise InputError(f'{url} is not the file that was asked for: its SHA-256 begins with {found[:len(digits)]}, not with {digits}: '
                         f'{advice}')


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
