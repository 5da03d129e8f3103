"""A model card: what a folder of weights is, how it is loaded, and what was measured of it."""
from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from mmdssl.results.records import versions


def model_card(title: str, library: str, backbone: str, source: str, weights: str, pixels: Mapping[str, Sequence[float]], how: str,
               left_out: Sequence[str], records: Iterable[dict]) -> str:
    """``README.md`` of a folder, in Markdown with the header that Hugging Face's hub reads.

    Args:
        title: Its heading.
        library: Whose names the weights have: ``'transformers'``, ``'timm'`` or ``'mmdssl'``.
        backbone: The name of the architecture.
        source: The file that was converted.
        weights: The fingerprint by which records name weights.
        pixels: ``mean`` and ``std`` of red, green and blue, from 0 to 1.
        how: Lines of Python that load the folder; may be empty.
        left_out: Names of tensors that the form has no place for.
        records: Of these weights, see :func:`mmdssl.results.records.read_records`; each number of the card is one of theirs.
    """
    records = list(records)
    methods = sorted({record['method'] for record in records if record.get('checkpoint') == weights and record.get('method')})
    rows = [f'| {record.get("task", "")} | {record.get("dataset_name", "")} | {name} | {value:g} | {record.get("time", "")[:10]} |'
            for record in records for name, value in record.get('metrics', {}).items() if isinstance(value, (int, float))]
    header = ['| task | data | metric | value | day |', '|---|---|---|---|---|']
    table = [*header, *rows] if rows else ['Nothing: there is no record of these weights.']
    notes = [f'Left out, for there is no place for it: {", ".join(left_out)}.', ''] if left_out else []
    loading = ['## How to load it', '', '```python', how, '```', ''] if how else []
    return '\n'.join([
        '---', f'library_name: {library}', 'pipeline_tag: image-feature-extraction', 'tags: [self-supervised-learning, mmdssl]', '---', '',
        f'# {title}', '', f'`{backbone}`' + (f', pretrained without labels by {", ".join(methods)}' if methods else '') + '.',
        'Images are RGB with values from 0 to 1, normalised by the mean {} and the standard deviation {}.'.format(
            *(', '.join(f'{value:g}' for value in pixels[key]) for key in ('mean', 'std'))), '',
        *loading, *notes, '## What was measured', '', *table, '', '## Where it is from', '',
        f'Converted from `{source}`; records call these weights `{weights}`. Written with '
        + ', '.join(f'{name} {number}' for name, number in versions().items()) + '.',
        'Weights keep the licence of what they were made from.', ''])


def records_of(records: Iterable[dict], weights: str, file: str) -> list[dict]:
    """Those records, without repetitions, that measured a backbone: as it is, or at the start of a training.

    Args:
        records: All.
        weights: The fingerprint of the backbone.
        file: The fingerprint of its file.
    """
    mine = [record for record in records
            if record.get('checkpoint') == weights or (record.get('pretrained') or {}).get('sha256') == file]
    return list({json.dumps(record, sort_keys=True): record for record in mine}.values())
