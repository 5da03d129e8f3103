"""Weights that no network can use, and files from which no run can be continued."""
from __future__ import annotations

import json

import pytest
import torch
from plain import vit_weights
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mmdssl.checkpoint import convert_checkpoint, load_backbone, read_pretrained, save_backbone
from mmdssl.checkpoint.fingerprint import STATED, stated
from mmdssl.checkpoint.weights import check_resumable, check_weights
from mmdssl.errors import InputError
from mmdssl.registry import MODELS


def one(value: float) -> torch.Tensor:
    tensor = torch.ones(2, 3)
    tensor[1, 1] = value
    return tensor


BAD = {
    'has 1 of 6 values that are NaN or infinite': one(float('nan')),
    'has 1 of 6 values that are NaN or infinite ': one(-float('inf')),
    'has 6 of 6 values that are NaN or infinite': torch.full((6, ), float('nan'), dtype=torch.bfloat16),
    'is of the type int64': torch.ones(2, dtype=torch.int64),
    'is of the type bool': torch.ones(2, dtype=torch.bool),
    'is complex': torch.ones(2, dtype=torch.complex64),
    'is sparse': torch.ones(2, 2).to_sparse(),
    'has no values': torch.ones(2, device='meta'),
    'is of shape .* of which only 4 bytes are there': torch.ones(1).expand(10**6, 10**6),
}


@pytest.mark.parametrize('words', BAD)
def test_weights_that_are_no_numbers_are_refused(words, tmp_path):
    with pytest.raises(InputError, match=rf'file\.pth .* norm\.weight {words.strip()}'):
        check_weights('file.pth', {'cls_token': torch.ones(1), 'norm.weight': BAD[words]})
    check_weights('file.pth', {'bn.num_batches_tracked': torch.tensor(3), 'norm.weight': torch.ones(2)})


def test_only_buffers_of_the_network_are_whole_numbers():
    network = dict(queue_ptr=torch.zeros(1, dtype=torch.int64), weight=torch.ones(1))
    check_weights('file.pth', dict(queue_ptr=torch.ones(1, dtype=torch.int64)), network)
    with pytest.raises(InputError, match='weight is of the type int64'):
        check_weights('file.pth', {'module.weight': torch.ones(1, dtype=torch.int64)}, network)


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_a_backbone_with_a_value_that_is_not_finite_is_not_read(value, tmp_path):
    weights = vit_weights()
    weights['blocks.1.norm1.bias'][3] = value
    torch.save(weights, tmp_path / 'model.pth')
    save_file(weights, tmp_path / 'model.safetensors')
    for path in tmp_path.iterdir():
        for read in (read_pretrained, load_backbone, lambda path: convert_checkpoint(path, tmp_path / 'other.pth', 'timm')):
            with pytest.raises(InputError, match=r'blocks\.1\.norm1\.bias has 1 of 192 values'):
                read(path)
    assert not (tmp_path / 'other.pth').exists()


@pytest.fixture(params=['backbone', 'safetensors', 'pth'])
def ours(request, tiny_backbone, tmp_path):
    """A file that we wrote, in each way we do."""
    path = tmp_path / 'backbone.safetensors'
    save_backbone(MODELS.build(tiny_backbone), path, tiny_backbone, epoch=3)
    if request.param == 'backbone':
        return path
    convert_checkpoint(path, tmp_path / f'ours.{request.param}', 'timm')
    return tmp_path / f'ours.{request.param}'


def test_our_files_state_the_hash_of_what_they_hold(ours):
    """Other tensors or another config beside the old hash are not loaded; a file without one, as they were, is."""
    load_backbone(ours)
    if ours.suffix == '.pth':
        content = torch.load(ours)
        tensors, facts = content['state_dict'], {key: content[key] for key in ('config', STATED)}
    else:
        with safe_open(ours, 'pt') as file:
            tensors, facts = load_file(ours), file.metadata()
    assert len(facts[STATED]) == 64

    def write(tensors, facts):
        if ours.suffix == '.pth':
            torch.save(dict(state_dict=tensors, **facts), ours)
        else:
            save_file(tensors, ours, facts)
    changed = {**tensors, 'norm.bias': tensors['norm.bias'] + 1e-3}
    other = {**facts, 'config': json.dumps({**json.loads(facts['config']), 'position_rule': 'dino'})}
    for wrong in ((changed, facts), (tensors, other), (tensors, {**facts, STATED: facts[STATED][::-1]})):
        write(*wrong)
        with pytest.raises(InputError, match='do not have the hash that it states'):
            load_backbone(ours)
    del facts[STATED]
    write(changed, facts)
    assert torch.equal(load_backbone(ours).norm.bias, changed['norm.bias'])


def test_the_hash_covers_names_types_and_shapes():
    tensor = torch.arange(6.)
    found = {stated(tensors, facts)[STATED] for tensors, facts in (
        (dict(a=tensor), {}), (dict(b=tensor), {}), (dict(a=tensor.view(2, 3)), {}), (dict(a=tensor.view(torch.int32)), {}),
        (dict(a=tensor), dict(config='1')))}
    assert len(found) == 5


RUN = dict(state_dict=dict(a=torch.ones(1)), meta=dict(epoch=1, iter=6, seed=0), optimizer=dict(state={}, param_groups=[]),
           message_hub=dict(log_scalars={}, runtime_info={}, resumed_keys={}), param_schedulers=[])


@pytest.mark.parametrize('change, words', [
    (dict(meta=None), r"meta\['epoch'\] and meta\['iter'\] are missing"),
    (dict(meta=dict(epoch='one', iter=6)), r"meta\['epoch'\] is missing"),
    (dict(message_hub=[]), r"message_hub\['log_scalars'\]"), (dict(optimizer=3), 'optimizer is missing in it or of another kind'),
    (dict(param_schedulers=3), 'param_schedulers is'), (dict(meta=dict(epoch=-1, iter=6)), r"meta\['epoch'\]"),
    (dict(optimizer=dict(state={0: dict(exp_avg=one(float('nan')))}, param_groups=[])), r'optimizer\.state\.0\.exp_avg is not finite')])
def test_parts_of_a_checkpoint_that_are_missing_are_named(change, words):
    check_resumable('epoch_1.pth', RUN)
    with pytest.raises(InputError, match=rf'epoch_1\.pth cannot be continued from.*{words}'):
        check_resumable('epoch_1.pth', {**RUN, **change})


def test_weights_alone_are_no_checkpoint_of_a_run():
    for content in (dict(state_dict=RUN['state_dict']), RUN['state_dict']):
        with pytest.raises(InputError, match=r'for it has no meta, message_hub and optimizer.*load_from.*--pretrained'):
            check_resumable('weights.pth', content)
