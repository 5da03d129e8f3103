"""Write a backbone under the names of timm, Hugging Face or mmdssl."""
from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from mmdssl.checkpoint.architecture import is_our_vit, is_resnet
from mmdssl.checkpoint.files import whole_file
from mmdssl.checkpoint.fingerprint import stated
from mmdssl.checkpoint.huggingface import HuggingFace
from mmdssl.checkpoint.layout import Pretrained, Written
from mmdssl.checkpoint.layouts import Own
from mmdssl.checkpoint.of_timm import Timm
from mmdssl.checkpoint.pretrained import backbone_config, check_fit, read_pretrained
from mmdssl.errors import InputError

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
    folder = target if not target.suffix or target.is_dir() else None
    if folder is None and target.suffix not in ('.safetensors', '.pth'):
        raise InputError(f'{target} should end in .safetensors or .pth, which decides the format, or be a folder')
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
    elif form != 'huggingface':  # whose files alone say too little
        written.beside = {}
    if written.beside:
        _check_free(target.with_name('config.json'))
    target.parent.mkdir(exist_ok=True)
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
    written.how = written.how.replace('{file}', repr(str(target))).replace('{folder}', repr(str(target.parent)))
    return written


def _check_free(path: Path) -> None:
    """
    Raises:
        InputError: There is a config that is not ours, whose files ours must not join.
    """
    if path.exists() and '"mmdssl"' not in path.read_text():
        raise InputError(f'{path} is there already and belongs to something else: give the target a folder of its own')
