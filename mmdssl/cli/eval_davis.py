"""Score predicted masks of DAVIS-2017.

PREDICTIONS holds a folder per sequence with indexed PNGs named as the annotations, as DAVISMetric and most published
code write them. Printed with one decimal; files have every digit.
"""
from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING

from mmdssl.cli.guard import guarded
from mmdssl.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from mmdssl.protocols.video_scores import SequenceScores


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: 2 after an error that the message on stderr explains."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('predictions', metavar='PREDICTIONS', help='folder with a folder of PNGs per sequence')
    parser.add_argument('data', metavar='DATA', help='folder of DAVIS-2017 or DAVIS-2016')
    parser.add_argument('--split', default='val', help='name of the list of sequences')
    parser.add_argument('--year', help='folder of the list, in ImageSets; by default 2017, 2016 or 480p, whichever there is')
    parser.add_argument('--binary', action='store_true', help='masks are 0 and 255, as in DAVIS-2016; those of PREDICTIONS may be')
    parser.add_argument('--json', type=Path, metavar='FILE', help='also write the scores there, as JSON')
    parser.add_argument('--csv', type=Path, metavar='FILE', help='also write the scores there, a line for each object')
    args = parser.parse_args(argv)
    return guarded(lambda: run(args))


def run(args: argparse.Namespace) -> None:
    from rich.console import Console

    from mmdssl.datasets.davis import DAVIS, find_year
    from mmdssl.protocols.video_scores import copy_first, score_rows, score_table
    data = DAVIS(args.data, args.split, args.year or find_year(args.data, args.split), binary=args.binary)
    sequences = [data.get_data_info(i) for i in range(len(data))]
    rows = score_rows([score(args.predictions, sequence) for sequence in sequences],
                      [copy_first(sequence['name'], masks(sequence)) for sequence in sequences])
    Console().print(score_table(rows, f'DAVIS {args.split}'))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + '\n')
    if args.csv:
        with open(args.csv, 'w', newline='') as file:
            writer = csv.DictWriter(file, ['object', *rows['all objects']])
            writer.writeheader()
            writer.writerows({'object': name, **row} for name, row in rows.items())


def score(predictions: str, sequence: dict) -> SequenceScores:
    """Scores of a sequence of the dataset; of its predictions, the first and the last are not needed."""
    from mmdssl.datasets.davis import read_mask
    from mmdssl.protocols.video_scores import score_sequence
    folder = Path(predictions, sequence['name'])
    wanted = [Path(path).name for path in sequence['mask_paths'][1:-1]]
    if not folder.is_dir():
        raise InputError(f"there is no folder '{folder}': PREDICTIONS needs one for every sequence of the split")
    missing = [name for name in wanted if not (folder / name).is_file()]
    if missing:
        raise InputError(f"'{folder}' lacks the masks of {len(missing)} frames, first {missing[0]}: predict all frames")
    predicted = (read_mask(folder / name, sequence['binary']) for name in wanted)
    return score_sequence(sequence['name'], predicted, masks(sequence))


def masks(sequence: dict) -> list[np.ndarray]:
    """The annotations of a sequence."""
    from mmdssl.datasets.davis import read_mask
    return [read_mask(path, sequence['binary']) for path in sequence['mask_paths']]
