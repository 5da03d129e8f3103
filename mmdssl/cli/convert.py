"""Write the backbone of any checkpoint in the form of timm, Hugging Face or mmdssl."""
from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mmdssl.cli.guard import guarded

if TYPE_CHECKING:
    from mmdssl.checkpoint.layout import Pretrained, Written

LIBRARIES = dict(mmdssl='mmdssl', timm='timm', huggingface='transformers')  # by mmdssl.checkpoint.convert.FORMS, whose import takes seconds


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: 2 after an error that the message on stderr explains."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', metavar='SRC',
                        help='checkpoint: a .pth or .safetensors file, or an http(s) address of one')
    parser.add_argument('target', metavar='DST',
                        help='what to write: a file that ends in .safetensors or .pth, or a folder for model.safetensors and a model card')
    parser.add_argument('--to', choices=LIBRARIES, required=True,
                        help='whose names; timm stands for torchvision where it is a ResNet')
    parser.add_argument('--network', choices=['teacher', 'student'],
                        help='which one, where the file has both; by default the one that its authors evaluate')
    parser.add_argument('--layout',
                        help='what the file is, such as dino or mae, where it is not recognised; a wrong name is answered with all of them')
    parser.add_argument('--records', nargs='+', metavar='JSONL',
                        help='records for the model card; by default those of results.jsonl beside the source')
    args = parser.parse_args(argv)
    return guarded(lambda: run(args))


def run(args: argparse.Namespace) -> None:
    from mmdssl.checkpoint import convert_checkpoint, read_pretrained
    from mmdssl.results.records import read_records
    source, beside = Path(args.source), Path(args.source).with_name('results.jsonl')
    records = [record for file in args.records or [beside] * beside.is_file() for record in read_records(file)]
    given = read_pretrained(args.source, args.network, args.layout)
    written = convert_checkpoint(given, args.target, args.to)
    print(f'{args.target}: {len(written.state)} tensors as {args.to}, of {args.source}')
    if written.left_out:
        print(f'left out, as {args.to} has no place for them: {", ".join(written.left_out)}')
    if Path(args.target).is_dir():
        Path(args.target, 'README.md').write_text(_card(Path(args.target), LIBRARIES[args.to], source, given, written, records))
    if written.how:
        print(f'load it with:\n{written.how}')


def _card(target: Path, library: str, source: Path, given: Pretrained, written: Written, records: list[dict]) -> str:
    from mmdssl.checkpoint import backbone_config, load_backbone
    from mmdssl.checkpoint.fingerprint import fingerprint_weights
    from mmdssl.models.backbones.names import backbone_name
    from mmdssl.results.card import model_card, records_of
    from mmdssl.results.records import fingerprint_file
    name, weights = backbone_name(backbone_config(given)), fingerprint_weights(load_backbone(given))
    mine = records_of(records, weights, fingerprint_file(source) if source.is_file() else '')
    return model_card(target.resolve().name, library, name, source.name, weights, given.pixels, written.how, written.left_out, mine)
