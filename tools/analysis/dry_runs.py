"""Dry-run every config of configs/pretrain, as who wants to train it would: python tools/analysis/dry_runs.py OUT --data FOLDER

FOLDER has class folders of images, of which OUT gets some as links. Each dry run must end within ``--limit`` seconds, without those
that imports take; where other programs keep the cores busy, the seconds of the processor tell more. DiLo must name the command that
makes its masks, and BEiT the one that trains its tokenizer; both are then given, and they run with what that has made. Prints for
each config seconds, the most memory and the verdict; exits with 1 where one is bad.
"""
from __future__ import annotations

import argparse
import importlib.util
import re
import resource
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import ModuleType

from campaign import FINE, REFUSED, Case, Outcome, report, run_cases

from mmdssl.datasets.images import find_images

ROOT = Path(__file__).resolve().parents[2]
PREPARING = 600.
IMAGES = 4200  # a batch of the largest config, and some
FEW = 16
MASKS, TOKENIZER = 'tools/make_saliency.py', 'configs/pretrain/beit_tokenizer.py'


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / f'tools/{name}.py')
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # where its worker processes look for it
    spec.loader.exec_module(module)
    return module


def link(source: Path, folder: Path, number: int) -> Path:
    """The first images of a folder in another one, evenly from its classes."""
    classes: dict[str, list[str]] = {}
    for path in find_images(str(source)):
        classes.setdefault(Path(path).parent.name, []).append(path)
    for name, paths in classes.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for path in islice(paths, -(-number // len(classes))):
            place = folder / name / Path(path).name
            if not place.exists():
                place.symlink_to(path)
    return folder


def cases(out: Path, source: Path, wanted: list[str], limit: float) -> list[Case]:
    train, make_saliency = tool('train'), tool('make_saliency')
    many, few = link(source, out / 'images', IMAGES), link(source, out / 'few', FEW)
    tokenizer = out / 'tokenizer/backbone.safetensors'

    def command(name: str, data: Path, *arguments: str) -> Callable[[], int]:
        return lambda: train.main([str(ROOT / f'configs/pretrain/{name}.py'), '--data', str(data), *arguments])

    def names(case: str, what: str) -> Callable[[], str | None]:
        return lambda: None if what in (out / f'{case}.log').read_text() else f'does not name {what}'

    found = []
    for name in wanted:
        dry = Case(name, command(name, many, '--dry-run'), limit=limit)
        if name == 'dilo':
            small = ['--dry-run', '--cfg-options', f'train_dataloader.batch_size={FEW}']
            found += [Case('dilo (no masks)', dry.run, REFUSED, check=names('dilo (no masks)', MASKS), limit=limit),
                      Case('dilo: masks', lambda: make_saliency.main([str(few)]), limit=PREPARING),
                      Case('dilo', command(name, few, *small), limit=limit)]
        elif name == 'beit':
            short = ['train_cfg.max_epochs=2', f'train_dataloader.batch_size={FEW // 2}', 'train_dataloader.num_workers=1']
            missing = out / 'gone.safetensors'
            found += [Case('beit (no tokenizer)', command(name, many, '--work-dir', str(out / 'beit'), '--cfg-options',
                                                          f'model.tokenizer.init_cfg.checkpoint={missing}'),
                           REFUSED, check=names('beit (no tokenizer)', TOKENIZER), limit=limit),
                      Case('beit: tokenizer', command('beit_tokenizer', few, '--work-dir', str(tokenizer.parent), '--cfg-options', *short),
                           limit=PREPARING),
                      Case('beit', command(name, many, '--dry-run', '--cfg-options', f'model.tokenizer.init_cfg.checkpoint={tokenizer}'),
                           limit=limit)]
        else:
            found.append(dry)
    return found


def memory(outcome: Outcome, out: Path) -> str:
    row = re.search(r'peak memory\W+([\d,]+ MiB per process(, with \d+ of its \d+ images)?)', (out / f'{outcome.name}.log').read_text())
    return row[1] if row and outcome.verdict in FINE else ''


def processor_seconds() -> float:
    """Of all processes that were started here and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', type=Path, help='folder for logs, links and what is made for DiLo and BEiT')
    parser.add_argument('--data', type=Path, required=True, help='class folders of images')
    parser.add_argument('--limit', type=float, default=60., help='seconds that a dry run may take')
    parser.add_argument('--configs', nargs='+', default=sorted(path.stem for path in (ROOT / 'configs/pretrain').glob('*.py')))
    args = parser.parse_args(argv)
    out = args.out.resolve()
    rows, outcomes = [], []
    for case in cases(out, args.data.resolve(), args.configs, args.limit):
        before = processor_seconds()
        outcome, = run_cases([case], out)
        rows.append(f'| {outcome.name} | {outcome.seconds:.0f} | {processor_seconds() - before:.0f} | {memory(outcome, out)} | '
                    f'{outcome.verdict} |')
        outcomes.append(outcome)
    print('\n| config | seconds | of the processor | peak memory | verdict |', '|---|---|---|---|---|', *rows, sep='\n')
    return report('dry runs', outcomes)


if __name__ == '__main__':
    sys.exit(main())
