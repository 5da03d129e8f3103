"""Write the backbone of any checkpoint in the form of timm, Hugging Face or mmdssl."""
from __future__ import annotations

import argparse

from mmdssl.cli.guard import guarded

FORMS = ('mmdssl', 'timm', 'huggingface')  # mmdssl.checkpoint.convert.FORMS, whose import takes seconds; so does that of its layouts
LAYOUTS = ('resnet', 'mmdssl', 'huggingface', 'beit', 'dinov2', 'pqcl', 'ibot', 'selfpatch', 'bam', 'mocov3', 'mae', 'timm', 'dino')


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: 2 after an error that the message on stderr explains."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', metavar='SRC',
                        help='checkpoint: a .pth or .safetensors file, or an http(s) address of one')
    parser.add_argument('target', metavar='DST', help='what to write, .safetensors or .pth')
    parser.add_argument('--to', choices=FORMS, required=True,
                        help='whose names; timm stands for torchvision where it is a ResNet')
    parser.add_argument('--network', choices=['teacher', 'student'],
                        help='which one, where the file has both; by default the one that its authors evaluate')
    parser.add_argument('--layout', choices=LAYOUTS,
                        help='what the file is, where it is not recognised')
    args = parser.parse_args(argv)
    return guarded(lambda: run(args))


def run(args: argparse.Namespace) -> None:
    from mmdssl.checkpoint import convert_checkpoint, read_pretrained
    left_out = convert_checkpoint(args.source, args.target, args.to, args.network, args.layout)
    written = read_pretrained(args.target)
    print(f'{args.target}: {len(written.state)} tensors as {args.to}, of {args.source}')
    if left_out:
        print(f'left out, as {args.to} has no place for them: {", ".join(left_out)}')
