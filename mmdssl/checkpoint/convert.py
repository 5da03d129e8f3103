"""Write a backbone under the names of timm, Hugging Face or mmdssl."""
from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from mmdssl.checkpoint.architecture import is_our_vit, is_resnet
from mmdssl.checkpoint.files import whole_file
from mmdssl.checkpoint.fingerprint import STATED, stated
from mmdssl.checkpoint.huggingface import HuggingFace
from mmdssl.checkpoint.layout import Pretrained, Written
from mmdssl.checkpoint.layouts import Own
from mmdssl.checkpoint.of_timm import Timm
from mmdssl.checkpoint.pretrained import backbone_config, check_fit, read_pretrained
from mmdssl.errors import InputError

BESIDE = ('README.md', 'config.json', 'preprocessor_config.json')  # of the weights in a folder
FORMS = {'mmdssl': Own(), 'timm': Timm(), 'huggingface': HuggingFace()}


def convert_checkpoint(source: str | Path | Pretrained, target: str | Path, form: str, network: str | None = None,
                       layout: str | None = None) -> Written:
    """Write the backbone of any checkpoint in another form; what comes back from it is the same to the bit.

    The file carries our config too, so that reading it again needs no guess: heads, rule and kind of positions.

    Args:
        source: See :func:`mmdssl.checkpoint.read_pretrained`, whose result may be given too.
        target: A ``.safetensors`` or ``.pth`` file, or a folder, in which it becomes ``model.safetensors``. Hugging Face's form puts a
            ``config.json`` and a ``preprocessor_config.json`` beside it, timm's a ``config.json`` into a folder.
        form: ``'mmdssl'``, ``'timm'`` (torchvision's names for a ResNet) or ``'huggingface'``.
        network: See :func:`mmdssl.checkpoint.read_pretrained`.
        layout: The same.

    Returns:
        What was written, with the names of tensors that have no place in the form, and the lines of Python that load it.

    Raises:
        InputError: The checkpoint cannot be read, or the form cannot hold its network.
    """
    target = Path(target)
    if form not in FORMS:
        raise InputError(f'the form is one of {", ".join(FORMS)}, got {form!r}')
    folder = target if not target.suffix and not target.is_file() or target.is_dir() else None
    if folder is None and target.suffix not in ('.safetensors', '.pth'):
        raise InputError(f'{target} should end in .safetensors or .pth, which decides the format, or be a folder (if its name has a dot, '
                         'make it first)')
    if not target.parent.is_dir():
        raise InputError(f'the folder {target.parent} does not exist: make it first')
    given = source if isinstance(source, Pretrained) else read_pretrained(source, network, layout)
    config = backbone_config(given)
    if is_our_vit(config) or is_resnet(given.state):
        check_fit(given)
    written = FORMS[form].written(given)
    written.state = {name: tensor.contiguous().clone() for name, tensor in written.state.items()}
    if folder is not None:
        target = folder / 'model.safetensors'
        _check_room(folder, (target.name, *BESIDE))
        folder.mkdir(exist_ok=True)
    elif form == 'huggingface':  # whose files alone say too little
        _check_room(target.parent, written.beside)
    else:
        written.beside = {}
    for name, content in written.beside.items():
        with whole_file(target.with_name(name)) as partial:
            partial.write_text(json.dumps(content, indent=2) + '\n')
    facts = dict(config=json.dumps(config), pixels=json.dumps(given.pixels))
    with whole_file(target) as partial:
        if target.suffix == '.safetensors':
            save_file(written.state, partial, stated(written.state, dict(facts, format='pt')))
        elif form == 'huggingface':
            torch.save(written.state, partial)
        else:
            torch.save(dict(state_dict=written.state, **stated(written.state, facts)), partial)
    if folder is not None:
        for name in set(BESIDE) - set(written.beside):
            (folder / name).unlink(missing_ok=True)  # of another conversion
    written.how = written.how.replace('{file}', repr(str(target))).replace('{folder}', repr(str(target.parent)))
    return written


def _check_room(folder: Path, names: Iterable[str]) -> None:
    """
    Raises:
        InputError: There are files of these names which no conversion has written.
    """
    there = [path for path in (folder / name for name in names) if path.exists()]
    config, weights, metadata = folder / 'config.json', folder / 'model.safetensors', {}
    with suppress(OSError, SafetensorError), safe_open(weights, framework='pt') as file:
        metadata = file.metadata() or {}
    if there and STATED not in metadata and not (config.is_file() and '"mmdssl"' in config.read_text(errors='replace')):
        raise InputError(f'{there[-1]} is there already and belongs to something else: give the target a folder of its own')
