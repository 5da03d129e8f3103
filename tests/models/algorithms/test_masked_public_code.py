"""MAE and BEiT against the authors' public code: masks, positions, tokens, predictions, losses, gradients."""
from __future__ import annotations

import json
import random

import numpy as np
import pytest
import torch
from golden_files import GOLDEN, Golden, difference
from torch import Tensor, nn

from mmdssl.checkpoint.layouts import BEiT as BEiTLayout
from mmdssl.checkpoint.networks import Network
from mmdssl.datasets.transforms import BlockMask, RandomMask
from mmdssl.datasets.views import ViewGroup, Views
from mmdssl.models.algorithms import MAE, BEiT
from mmdssl.models.layers.position import integer_grid, relative_bias, sincos2d
from mmdssl.models.layers.targets import normalise_patches, patchify, unpatchify
from mmdssl.models.losses.masked import mean_over_masked
from mmdssl.registry import MODELS

MAE_STEP, BEIT_STEP = Golden('family/mae_step'), Golden('family/beit_step')
DECODER = dict(decoder_embed='embed', decoder_blocks='blocks', decoder_norm='norm', decoder_pred='predict', mask_token='mask_token')


def views_of(images: Tensor, masks: Tensor) -> Views:
    """One view of each image, as the loader makes it."""
    side = round(masks.shape[1]**0.5)
    empty = torch.zeros(1, 4), torch.zeros(1, dtype=torch.bool)
    return Views.collate([Views({'global': ViewGroup(image[None], *empty, mask.view(1, side, side))}, torch.tensor(0))
                          for image, mask in zip(images, masks)])


def ours_of_mae(name: str) -> str:
    """The name in our MAE of a parameter of theirs."""
    head, _, rest = name.partition('.')
    if head in DECODER:
        return f'student.decoder.{DECODER[head]}{"." * bool(rest)}{rest}'
    return f'student.backbone.{name}'


def make_mae(**kwargs) -> MAE:
    config = MAE_STEP.config
    arch = {name: config[name] for name in ('embed_dim', 'depth', 'num_heads')}
    algorithm = MODELS.build(dict(
        type='mmdssl.MAE', **kwargs,
        backbone=dict(type='mmdssl.VisionTransformer', arch=arch, patch_size=config['patch_size'], img_size=config['img_size'],
                      position='sincos', mlp_ratio=config['mlp_ratio']),
        decoder=dict(mlp_ratio=config['mlp_ratio'], **{name: config[f'decoder_{name}'] for name in arch})))
    theirs = MAE_STEP.under('model.')
    for name, width in (('pos_embed', config['embed_dim']), ('decoder_pos_embed', config['decoder_embed_dim'])):
        table = sincos2d(*integer_grid((4, 4)).unbind(-1), width)
        torch.testing.assert_close(theirs.pop(name)[0, 1:], table, rtol=0, atol=1e-6)
    algorithm.load_state_dict({ours_of_mae(name): tensor for name, tensor in theirs.items()})
    return algorithm


@torch.no_grad()
def test_tokens_and_predictions_of_mae():
    algorithm, images = make_mae(), MAE_STEP['images']
    keep = MAE_STEP['noise'].argsort(1)[:, :MAE_STEP.config['len_keep']['16@0.75']]
    cls, patches, _ = algorithm.backbone.forward_tokens(images, keep=keep)
    assert difference(torch.cat([cls[:, None], patches], 1), MAE_STEP['latent']) < 1e-5
    crops = views_of(images, MAE_STEP['mask'])['global']
    assert difference(algorithm.reconstruct(crops), MAE_STEP['pred']) < 1e-5
    patches = patchify(images, 4)
    assert torch.equal(patches, MAE_STEP['patches'])
    assert torch.equal(unpatchify(patches, 4, (4, 4)), images)


@pytest.mark.parametrize('name', ['norm_pix', 'pixel'])
def test_loss_of_mae(name):
    algorithm = make_mae(normalise_pixels=name == 'norm_pix')
    values = algorithm.loss(views_of(MAE_STEP['images'], MAE_STEP['mask']))
    assert difference(values['loss_pixels'], MAE_STEP[f'loss.{name}']) < 2e-6
    if name == 'pixel':
        return
    values['loss_pixels'].backward()
    largest = max(gradient.abs().max() for gradient in MAE_STEP.under('grad.').values())
    found = {parameter: tensor.grad for parameter, tensor in algorithm.named_parameters()}
    assert set(found) == {ours_of_mae(parameter) for parameter in MAE_STEP.under('grad.')}
    for parameter, expected in MAE_STEP.under('grad.').items():
        ours = found[ours_of_mae(parameter)]
        if parameter.endswith('qkv.bias'):  # that of the keys is rounding
            ours, expected = (tensor.unflatten(0, (3, -1))[[0, 2]] for tensor in (ours, expected))
        assert (ours - expected).abs().max() < 1e-5 * largest, parameter


@pytest.mark.parametrize('name', ['norm_pix', 'pixel'])
def test_gradient_of_maes_loss_for_the_prediction(name):
    predicted, mask = MAE_STEP['pred'].clone().requires_grad_(), MAE_STEP['mask']
    target = MAE_STEP['patches']
    if name == 'norm_pix':
        target, _, _ = normalise_patches(target)
    mean_over_masked((predicted - target).square().mean(-1)[mask]).backward()
    assert difference(predicted.grad, MAE_STEP[f'grad_pred.{name}']) < 1e-5


def test_maes_loss_is_the_mean_over_all_masked_patches_of_the_batch():
    mask = MAE_STEP['uneven.mask']
    target, _, _ = normalise_patches(MAE_STEP['patches'])
    error = (MAE_STEP['pred'] - target).square().mean(-1)
    assert difference(mean_over_masked(error[mask]), MAE_STEP['uneven.loss']) < 2e-6
    of_images = torch.stack([e[m].mean() for e, m in zip(error, mask)]).mean()
    assert difference(of_images, MAE_STEP['uneven.loss']) > 1e-3


@pytest.mark.parametrize('case', MAE_STEP.config['len_keep'])
def test_number_of_patches_that_mae_keeps(case):
    patches, ratio = case.split('@')
    mask = RandomMask(ratio=float(ratio), leave=True)
    assert int(patches) - int(mask.target(float(ratio), int(patches))) == MAE_STEP.config['len_keep'][case]


@pytest.mark.parametrize('ratio', ['0.4', '0.6', '0.75', '0.9'])
def test_masks_of_mae_have_as_many_patches_as_ours(ratio):
    drawn = RandomMask(ratio=float(ratio), leave=True)(224)
    assert (MAE_STEP[f'masks.{ratio}'].sum(1) == drawn.sum()).all()


@MODELS.register_module()
class GivenCodes(nn.Module):
    """A tokenizer that says what it is told."""
    stride = 8

    def __init__(self, num_codes: int):
        super().__init__()
        self.num_codes = num_codes

    def tokenize(self, images: Tensor) -> Tensor:
        assert images.shape == (*self.codes.shape[:1], 3, *(8 * side for side in self.codes.shape[1:]))
        return self.codes


def make_beit(**kwargs) -> BEiT:
    config = BEIT_STEP.config
    arch = {name: config[name] for name in ('embed_dim', 'depth', 'num_heads')}
    backbone = dict(
        type='mmdssl.VisionTransformer', arch=arch, patch_size=config['patch_size'], img_size=config['img_size'], position='none',
        relative_position='shared', layer_scale=0.1, mask_token=True, mlp_ratio=config['mlp_ratio'], init='beit')
    return MODELS.build(dict(dict(
        type='mmdssl.BEiT', backbone=backbone, tokenizer=dict(type='GivenCodes', num_codes=config['vocab_size'])), **kwargs))


def ours_of_beit(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Their backbone's tensors, weights or gradients, under our names."""
    state = dict(theirs)
    for block in {name.split('.')[1] for name in theirs if name.startswith('blocks.')}:
        q, v = (state.pop(f'blocks.{block}.attn.{part}_bias') for part in 'qv')
        state[f'blocks.{block}.attn.qkv.bias'] = torch.cat([q, torch.zeros_like(q), v])
        for i in (1, 2):
            state[f'blocks.{block}.ls{i}.gamma'] = state.pop(f'blocks.{block}.gamma_{i}')
    table = state.pop('rel_pos_bias.relative_position_bias_table')
    state['blocks.0.attn.relative_position_bias_table'] = table
    return state


def test_step_of_beit():
    algorithm = make_beit()
    theirs, gradients = BEIT_STEP.under('model.'), BEIT_STEP.under('grad.')
    heads = [{kind: part.pop(f'lm_head.{kind}') for kind in ('weight', 'bias')} for part in (theirs, gradients)]
    algorithm.student.head.load_state_dict(heads[0])
    algorithm.backbone.load_state_dict(ours_of_beit(theirs), strict=False)
    # what a checkpoint of theirs is read as, too
    net = Network('', '', BEIT_STEP.under('model.'))
    read = {name: tensor for name, tensor in BEiTLayout().read(net).state.items() if 'head' not in name}
    for name, tensor in algorithm.backbone.state_dict().items():
        torch.testing.assert_close(tensor, read[name], rtol=0, atol=0)

    algorithm.tokenizer.codes = BEIT_STEP['tokens'].view(4, 4, 4)
    views = views_of(BEIT_STEP['images'], BEIT_STEP['mask'])
    logits = algorithm.student.head(algorithm.masked_tokens(views['global']))
    assert difference(logits, BEIT_STEP['logits']) < 1e-5
    values = algorithm.loss(views)
    assert difference(values['loss_code'], BEIT_STEP['loss']) < 2e-6
    values['loss_code'].backward()
    largest = max(gradient.abs().max() for gradient in gradients.values())
    expected = ours_of_beit(gradients)
    found = dict(algorithm.backbone.named_parameters())
    assert set(found) == set(expected)
    for name, parameter in found.items():
        assert (parameter.grad - expected[name]).abs().max() < 1e-5 * largest, name
    for kind, gradient in heads[1].items():
        assert (algorithm.student.head.get_parameter(kind).grad - gradient).abs().max() < 1e-5 * largest


@pytest.mark.parametrize('grid', [(3, 4), (14, 14)])
def test_index_of_relative_positions_is_beits(grid):
    index = BEIT_STEP[f'index.{grid[0]}x{grid[1]}'].long()
    table = torch.randn(int(index.max()) + 1, 2)
    assert torch.equal(relative_bias(table, grid, grid), table[index].permute(2, 0, 1))
    if grid == (3, 4):
        assert difference(relative_bias(BEIT_STEP['table.3x4'], grid, grid), BEIT_STEP['bias.3x4']) == 0


MASKS = json.loads((GOLDEN / 'family/beit_masks.json').read_text())


@pytest.mark.parametrize('case', [case for case in MASKS['masks'] if isinstance(case['grid'], int)],
                         ids=lambda case: f'{case["seed"]}-{case["grid"]}-{case["target"]}')
def test_masks_of_beit_and_maskfeat(case):
    random.seed(case['seed'])
    mask = BlockMask(aspect=MASKS['aspect'], min_area=case['min_patches']).draw(case['grid'], case['target'])
    assert np.flatnonzero(mask).tolist() == case['masked']
    if case['seed'] < 50:  # BEiT's own: the smallest area is the default
        random.seed(case['seed'])
        assert np.array_equal(BlockMask(aspect=MASKS['aspect'], ratio=75 / 196).draw(14, 75 / 196 * 14 * 14), mask)
