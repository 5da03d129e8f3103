"""The command line of ``tools/convert_checkpoint.py``."""
from __future__ import annotations

import re

import pytest
import torch

from mmdssl.checkpoint import load_backbone, save_backbone
from mmdssl.checkpoint.fingerprint import fingerprint_weights
from mmdssl.registry import MODELS
from mmdssl.results.records import append_line, fingerprint_file


@pytest.fixture
def convert(load_tool):
    """The tool's ``main``, of the arguments."""
    main = load_tool('convert_checkpoint').main
    return lambda *args: main([str(arg) for arg in args])


def test_a_backbone_of_ours_to_timm_and_back(convert, tiny_backbone, tmp_path, capsys):
    config = dict(tiny_backbone, position='sincos', mask_token=True)
    backbone = MODELS.build(config).eval()
    save_backbone(backbone, tmp_path / 'ours.safetensors', config)
    assert convert(tmp_path / 'ours.safetensors', tmp_path / 'timm.pth', '--to', 'timm') == 0
    printed = capsys.readouterr().out
    # Without the mask token, with a table of positions.
    assert f'{len(backbone.state_dict())} tensors as timm' in printed
    assert 'left out, as timm has no place for them: mask_token' in printed
    assert convert(tmp_path / 'timm.pth', tmp_path / 'again.safetensors', '--to', 'mmdssl') == 0
    assert 'left out' not in capsys.readouterr().out
    images = torch.randn(2, 3, 40, 24)
    assert torch.equal(load_backbone(tmp_path / 'again.safetensors').features(images), backbone.features(images))


def test_a_folder_has_a_card_with_what_was_measured(convert, tiny_backbone, tmp_path, capsys):
    """Of these weights: as they are, and at the start of a training; never of others. The lines on it are those that were printed."""
    backbone, source = MODELS.build(tiny_backbone).eval(), tmp_path / 'backbone.safetensors'
    save_backbone(backbone, source, tiny_backbone)
    records = [dict(task='knn', dataset_name='fruits', method='DINO', metrics=dict(knn_top1=12.5),
                    checkpoint=fingerprint_weights(backbone)),
               dict(task='detection', method='MaskRCNN', metrics=dict(box_AP=3.25), checkpoint='other',
                    pretrained=dict(path='elsewhere', sha256=fingerprint_file(source))),
               dict(task='knn', method='MAE', metrics=dict(knn_top1=99.75), checkpoint='other')]
    for record in [*records, records[0]]:
        append_line(tmp_path / 'results.jsonl', record)
    for form, library in dict(huggingface='transformers', timm='timm', mmdssl='mmdssl').items():
        assert convert(source, tmp_path / form, '--to', form) == 0
        card, printed = (tmp_path / form / 'README.md').read_text(), capsys.readouterr().out
        assert f'library_name: {library}' in card and 'pretrained without labels by DINO.' in card
        assert re.findall(r'^\| (\S+) \| (\S*) +\| (\S+) \| (\S+) \|  \|$', card, re.M) == [
            ('knn', 'fruits', 'knn_top1', '12.5'), ('detection', '', 'box_AP', '3.25')]
        assert 'the mean 0.485, 0.456, 0.406 and the standard deviation 0.229, 0.224, 0.225' in card
        assert ('AutoImageProcessor.from_pretrained' in card) == (form == 'huggingface')
        lines = re.search(r'```python\n(.*)\n```', card, re.S)[1]
        assert printed.endswith(f'load it with:\n{lines}\n')
    (tmp_path / 'results.jsonl').unlink()
    assert convert(source, tmp_path / 'timm', '--to', 'timm') == 0
    assert 'Nothing: there is no record of these weights.' in (tmp_path / 'timm/README.md').read_text()


def test_mistakes_are_explained(convert, tmp_path, capsys):
    assert convert(tmp_path / 'none.pth', tmp_path / 'out.pth', '--to', 'timm') == 2
    assert capsys.readouterr().err.startswith('error: checkpoint') and not (tmp_path / 'out.pth').exists()
    with pytest.raises(SystemExit):
        convert('a.pth', 'b.pth', '--to', 'keras')
    torch.save(dict(weight=torch.ones(2)), tmp_path / 'some.pth')
    assert convert(tmp_path / 'some.pth', tmp_path / 'out.pth', '--to', 'timm', '--layout', 'dinov9') == 2
    assert 'no vision transformer or ResNet that is known' in capsys.readouterr().err
