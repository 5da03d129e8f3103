"""MAE, MaskFeat, BEiT and its tokenizer: formulas, processes, what a run leaves, and what cannot work."""
from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from masked_ranks import CASES, VIT, loss_and_gradient, run_as_rank, samples_of
from processes import run_ranks

from mmdssl.checkpoint import load_backbone, load_pretrained, save_backbone
from mmdssl.datasets.views import Views
from mmdssl.errors import InputError
from mmdssl.models.algorithms import Algorithm
from mmdssl.models.algorithms.dvae import divergence_from_uniform
from mmdssl.models.backbones import VisionTransformer
from mmdssl.models.diagnostics import code_perplexity
from mmdssl.models.layers.targets import hog
from mmdssl.registry import MODELS
from mmdssl.schedules import Progress


def build(case: str, **kwargs) -> Algorithm:
    config = dict(CASES[case], type=f'mmdssl.{CASES[case]["type"]}')
    config['backbone'] = dict(config['backbone'], **kwargs.pop('backbone', {}))
    algorithm = MODELS.build(dict(config, **kwargs))
    with torch.no_grad():
        for parameter in algorithm.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return algorithm


def views_for(case: str, images: int = 4) -> Views:
    views = Views.collate(samples_of(images, even=case == 'mae'))
    if case == 'dvae':
        views['global'].masks = None
    return views


def test_maskfeats_loss_and_gradient_follow_the_formula():
    """HOG itself is compared with loops in test_targets.py."""
    algorithm = build('maskfeat').double()
    views = Views.collate(samples_of(3, even=False, dtype=torch.float64))
    crops = views['global']
    tokens = algorithm.masked_tokens(crops).detach().requires_grad_()
    algorithm.masked_tokens = lambda crops: tokens
    algorithm.loss(views)['loss_hog'].backward()

    histograms = hog(crops.images.flatten(0, 1)).view(2, 3, 27, 4, 4)
    weight, bias = algorithm.student.head.weight, algorithm.student.head.bias
    total, row, gradients = 0., 0, []
    for view in range(2):
        for image in range(3):
            for y in range(4):
                for x in range(4):
                    if crops.masks[view, image, y, x]:
                        difference = weight @ tokens[row] + bias - histograms[view, image, :, y, x]
                        total += (difference**2).sum().item() / 27
                        gradients.append(2 * weight.T @ difference / 27)
                        row += 1
    assert row == len(tokens)
    value = algorithm.loss(views)['loss_hog']
    assert value.item() == pytest.approx(total / row, rel=1e-12)
    torch.testing.assert_close(tokens.grad, torch.stack(gradients) / row, rtol=1e-10, atol=1e-14)


def test_maskfeat_may_predict_pixels():
    algorithm, views = build('maskfeat', target='pixels').double(), Views.collate(samples_of(3, even=False, dtype=torch.float64))
    crops, tokens = views['global'], algorithm.masked_tokens(views['global'])
    errors = []
    for row, (view, image, y, x) in enumerate(crops.masks.nonzero().tolist()):
        pixels = crops.images[view, image, :, 8 * y:8 * y + 8, 8 * x:8 * x + 8].permute(1, 2, 0).flatten()
        target = (pixels - pixels.mean()) / (pixels.var() + 1e-6).sqrt()
        errors.append((algorithm.student.head(tokens[row]) - target).square().mean())
    torch.testing.assert_close(algorithm.loss(views)['loss_pixels'], torch.stack(errors).mean(), rtol=1e-12, atol=0)
    assert list(algorithm.pictures(views)) == ['image', 'masked', 'pixels', 'predicted pixels']


@pytest.mark.parametrize('normalise', [True, False])
def test_maes_loss_and_gradients_follow_the_formula(normalise):
    """The mean over all masked patches of the mean squared error of their pixels, at mean 0 and variance 1 (Sec. 3)."""
    algorithm = build('mae', normalise_pixels=normalise).double()
    views = Views.collate(samples_of(3, even=True, dtype=torch.float64))
    crops = views['global']
    errors = []
    for image, mask, predicted in zip(crops.images.flatten(0, 1), crops.masks.flatten(0, 1), algorithm.reconstruct(crops)):
        for y in range(4):
            for x in range(4):
                pixels = [image[channel, 8 * y + row, 8 * x + column] for row in range(8) for column in range(8) for channel in range(3)]
                if normalise:
                    mean = sum(pixels) / len(pixels)
                    variance = sum((pixel - mean)**2 for pixel in pixels) / (len(pixels) - 1)
                    pixels = [(pixel - mean) / (variance + 1e-6).sqrt() for pixel in pixels]
                if mask[y, x]:
                    errors.append(((predicted[4 * y + x] - torch.stack(pixels))**2).mean())
    assert_same(algorithm, algorithm.loss(views)['loss_pixels'], sum(errors) / len(errors))


def test_beits_loss_and_gradients_follow_the_formula():
    """Eq. 2; which code a patch has is tested below."""
    algorithm = build('beit').double()
    views = Views.collate(samples_of(3, even=False, dtype=torch.float64))
    crops = views['global']
    codes, losses = algorithm.codes(crops), []
    for i, (image, mask) in enumerate(zip(crops.images.flatten(0, 1), crops.masks.flatten(0, 1))):
        tokens = algorithm.backbone.forward_tokens(image[None], mask.flatten()[None]).patches[0]
        for y in range(4):
            for x in range(4):
                if mask[y, x]:
                    powers = (algorithm.student.head.weight @ tokens[4 * y + x] + algorithm.student.head.bias).exp()
                    losses.append(-(powers[codes[i, y, x]] / powers.sum()).log())
    assert_same(algorithm, algorithm.loss(views)['loss_code'], sum(losses) / len(losses))


def assert_same(algorithm: Algorithm, loss: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=0)
    parameters = [p for p in algorithm.parameters() if p.requires_grad]
    for ours, theirs in zip(*(torch.autograd.grad(value, parameters) for value in (loss, expected))):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-12)


def test_loss_of_the_dvae_is_the_error_of_its_drawing_and_the_divergence():
    algorithm = build('dvae')
    algorithm.set_progress(Progress(5, 10, 0, 1))
    views = views_for('dvae')
    images = views['global'].images.flatten(0, 1)
    torch.manual_seed(3)
    values = algorithm.loss(views)
    torch.manual_seed(3)
    logits = algorithm.backbone.head(algorithm.backbone.maps(images))
    temperature = 1 / 16 + (1 - 1 / 16) * (1 + math.cos(math.pi / 2)) / 2
    noise = -torch.empty_like(logits).exponential_().log()
    drawn = algorithm.student.decoder(((logits + noise) / temperature).softmax(1))
    torch.testing.assert_close(values['loss_drawing'], (drawn - images).square().mean())
    total = 0.
    for column in logits.detach().double().movedim(1, -1).flatten(0, -2).tolist():
        normal = math.log(sum(math.exp(value) for value in column))
        total += sum(math.exp(value - normal) * (value - normal + math.log(12)) for value in column)
    expected = total / (logits.numel() / 12)
    assert divergence_from_uniform(logits).item() == pytest.approx(expected, rel=1e-5)
    assert values['loss_uniform'].item() == pytest.approx(0.1 * expected, rel=1e-5)


@pytest.fixture(scope='module')
def ranks(tmp_path_factory) -> Path:
    """Folder in which two gloo processes have left what they computed."""
    folder = tmp_path_factory.mktemp('ranks')
    run_ranks(run_as_rank, 2, folder)
    return folder


@pytest.mark.parametrize('case', CASES)
def test_processes_together_compute_what_one_does(ranks, case, monkeypatch):
    """Also where they have different numbers of masked patches."""
    monkeypatch.setattr('mmdssl.models.algorithms.dvae.gumbel_softmax', None)  # so that it is as before, afterwards
    expected = loss_and_gradient(case)
    for rank in range(2):
        result = torch.load(ranks / f'2.{rank}')[case]
        assert set(result) == set(expected)
        for name, value in expected.items():
            torch.testing.assert_close(result[name], value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize('case', CASES)
def test_a_few_steps_learn_and_every_parameter_takes_part(case):
    """Plain DistributedDataParallel needs the second."""
    algorithm = build(case)
    views = views_for(case)
    parameters = [p for p in algorithm.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=3e-3)
    totals = []
    for _ in range(8):
        torch.manual_seed(1)
        totals.append(algorithm.parse_losses(algorithm.loss(views))[0])
        optimizer.zero_grad()
        totals[-1].backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in parameters)
        optimizer.step()
    assert totals[-1] < 0.97 * totals[0]
    health = algorithm.diagnostics()
    assert health['effective_rank'] > 1
    assert ('code_perplexity' in health) == (case in ('beit', 'dvae'))


@pytest.mark.parametrize('case', CASES)
def test_a_run_leaves_a_backbone_that_loads(case, tmp_path):
    algorithm = build(case).eval()
    save_backbone(algorithm.backbone, tmp_path / 'backbone.safetensors', dict(CASES[case]['backbone']))
    loaded, images = load_backbone(tmp_path / 'backbone.safetensors'), torch.rand(2, 3, 32, 32)
    assert torch.equal(loaded.features(images), algorithm.backbone.features(images))


def test_shared_positions_are_one_parameter_that_separate_ones_can_start_from(tmp_path):
    shared = build('beit').backbone
    assert [name for name, _ in shared.named_parameters() if 'relative' in name] == ['blocks.0.attn.relative_position_bias_table']
    save_backbone(shared, tmp_path / 'shared.safetensors', CASES['beit']['backbone'])
    config = dict(CASES['beit']['backbone'], relative_position=True, type='mmdssl.VisionTransformer')
    separate = MODELS.build(config)
    load_pretrained(separate, tmp_path / 'shared.safetensors')
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(separate.eval().features(images), shared.eval().features(images))
    with torch.no_grad():
        separate.blocks[1].attn.relative_position_bias_table += 1
    save_backbone(separate, tmp_path / 'separate.safetensors', config)
    with pytest.raises(InputError, match='other relative positions in each block.*set its relative_position=True'):
        load_pretrained(shared, tmp_path / 'separate.safetensors')


def test_beit_loads_the_tokenizer_that_a_run_has_left(tmp_path):
    trained = build('dvae').backbone.eval()
    file = tmp_path / 'backbone.safetensors'
    save_backbone(trained, file, CASES['dvae']['backbone'])
    tokenizer = dict(CASES['dvae']['backbone'], init_cfg=dict(type='SSLPretrained', checkpoint=str(file)))
    beit = build('beit', tokenizer=tokenizer)
    beit.init_weights()
    beit.train()
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(beit.tokenizer.tokenize(images), trained.tokenize(images))
    assert not beit.tokenizer.training and not any(p.requires_grad for p in beit.tokenizer.parameters())
    assert beit.student.head.out_features == 12


def test_an_untrained_tokenizer_is_refused():
    beit = build('beit', tokenizer=CASES['dvae']['backbone'])
    with pytest.raises(InputError, match='is an untrained DVAEEncoder, .* tools/train.py configs/pretrain/beit_tokenizer.py'):
        beit.init_weights()
    build('beit').init_weights()  # a random projection needs no training


def test_tokenizers_see_the_view_at_a_token_per_patch_and_as_it_was_before_normalisation():
    beit = build('beit', backbone=dict(patch_size=16, img_size=64))
    seen = []
    beit.tokenizer.tokenize = lambda images: seen.append(images) or torch.zeros(8, 2, 2, dtype=torch.long)
    views = views_for('beit')
    pixels = torch.rand(2, 4, 3, 32, 32)
    mean, std = ((255 * torch.tensor(v)).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    views['global'].images = (255 * pixels - mean) / std
    views['global'].masks = views['global'].masks[..., :2, :2]
    beit.codes(views['global'])
    expected = F.interpolate(pixels.flatten(0, 1), (16, 16), mode='bicubic', antialias=True).clamp(0, 1)
    torch.testing.assert_close(seen[0], expected, rtol=0, atol=1e-4)


def test_random_projection_is_the_same_everywhere_and_uses_its_codes():
    config = dict(type='mmdssl.RandomProjectionTokenizer', num_codes=64, stride=4, dim=8)
    first, _, second = MODELS.build(config), torch.rand(7), MODELS.build(config)
    images = torch.rand(8, 3, 16, 24)
    codes = first.tokenize(images)
    assert codes.shape == (8, 4, 6) and codes.dtype == torch.long and codes.max() < 64
    assert torch.equal(codes, second.tokenize(images))
    assert code_perplexity(codes, 64) > 30
    torch.testing.assert_close(first.tokenize(images[:, :, 4:8, 8:12])[:, 0, 0], codes[:, 1, 2])
    mean = torch.tensor([0.485, 0.456, 0.406])
    patch = (images[5, :, 4:8, 8:12].movedim(0, -1) - mean).flatten()
    projected = [sum(value * w for value, w in zip(patch.tolist(), column)) for column in first.projection.T.tolist()]
    scores = [sum(p * c for p, c in zip(projected, code)) for code in first.codes.tolist()]
    assert scores.index(max(scores)) == codes[5, 1, 2]


def test_perplexity_counts_the_codes_in_use():
    assert code_perplexity(torch.tensor([[3, 3], [3, 3]]), 10) == pytest.approx(1)
    assert code_perplexity(torch.tensor([0, 1, 2, 9]), 10) == pytest.approx(4)


@torch.no_grad()
def test_kept_patches_are_those_that_the_whole_network_would_see():
    """A network with all patches in another order gives the same tokens; one with some knows nothing of the others."""
    vit = build('mae').backbone
    images = torch.randn(2, 3, 32, 32)
    everything = vit.forward_tokens(images)
    order = torch.stack([torch.randperm(16) for _ in range(2)])
    shuffled = vit.forward_tokens(images, keep=order)
    torch.testing.assert_close(shuffled.cls, everything.cls)
    torch.testing.assert_close(shuffled.patches, everything.patches.take_along_dim(order[..., None], 1))
    keep = torch.tensor([[0, 5, 3], [15, 1, 2]])
    some = vit.forward_tokens(images, keep=keep)
    assert some.patches.shape == (2, 3, 16)
    hidden = torch.ones(2, 16, dtype=torch.bool).scatter(1, keep, False).view(2, 1, 4, 4)
    changed = torch.where(hidden.repeat_interleave(8, 2).repeat_interleave(8, 3), torch.randn_like(images), images)
    assert torch.equal(vit.forward_tokens(changed, keep=keep).patches, some.patches)


@torch.no_grad()
def test_features_are_those_that_the_method_trains(tmp_path):
    mean, cls = (VisionTransformer(VIT['arch'], 8, 32, pool=pool).eval() for pool in ('mean', 'cls'))
    mean.load_state_dict(cls.state_dict())
    images = torch.randn(2, 3, 32, 32)
    tokens = mean.forward_tokens(images)
    assert torch.equal(mean.features(images), tokens.patches.mean(1)) and torch.equal(cls.features(images), tokens.cls)
    save_backbone(mean, tmp_path / 'backbone.safetensors', dict(VIT, pool='mean'))
    assert torch.equal(load_backbone(tmp_path / 'backbone.safetensors').features(images), mean.features(images))
    with pytest.raises(InputError, match="pool='max': give 'cls' or 'mean'"):
        VisionTransformer(pool='max')


@pytest.mark.parametrize('case', CASES)
def test_pictures(case):
    algorithm, views = build(case).eval(), views_for(case)
    pictures = algorithm.pictures(views)
    expected = dict(mae=['image', 'masked', 'reconstruction'], maskfeat=['image', 'masked', 'HOG', 'predicted HOG'],
                    beit=['image', 'masked', 'tokens', 'predicted tokens'], dvae=['image', 'drawn'])[case]
    assert list(pictures) == expected
    assert all(p.shape == (8, 3, 32, 32) and p.min() >= 0 and p.max() <= 1 for p in pictures.values())
    if case == 'mae':
        visible = ~views['global'].masks.flatten(0, 1)[:, None].repeat_interleave(8, 2).repeat_interleave(8, 3).expand(-1, 3, -1, -1)
        image, masked, drawn = pictures.values()
        assert torch.equal(drawn[visible], image[visible]) and torch.equal(masked[visible], image[visible])
        assert (masked[~visible] == 0.5).all() and not torch.equal(drawn[~visible], image[~visible])


def test_a_perfect_reconstruction_is_the_image():
    algorithm, views = build('mae'), views_for('mae')
    crops = views['global']
    crops.images = crops.images.clamp(-1.5, 1.5)
    patches = algorithm.patches_of(crops)
    algorithm.reconstruct = lambda crops: ((patches - patches.mean(1, keepdim=True))
                                           / (patches.var(1, keepdim=True) + 1e-6).sqrt()).view(8, 16, -1)
    image, _, drawn = algorithm.pictures(views).values()
    torch.testing.assert_close(drawn, image, rtol=0, atol=1e-5)


RESNET = dict(type='mmdssl.TimmBackbone', name='resnet18', model_args=dict(layers=(1, 1, 1, 1), channels=(8, 8, 16, 16)))


@pytest.mark.parametrize('name', ['MAE', 'MaskFeat', 'BEiT'])
def test_methods_that_read_single_patches_say_so(name):
    with pytest.raises(InputError, match=f'{name} reads single patches, which only a VisionTransformer has'):
        MODELS.build(dict(CASES[name.lower()], type=f'mmdssl.{name}', backbone=RESNET))


@pytest.mark.parametrize('case, change, message', [
    ('maskfeat', dict(backbone=dict(mask_token=False)), 'MaskFeat masks patches with a token: set model.backbone.mask_token=True'),
    ('maskfeat', dict(cell=3), 'cells of 3 px do not fill a patch of 8 px: change model.cell'),
    ('beit', dict(backbone=dict(mask_token=False)), 'BEiT masks patches with a token'),
    ('beit', dict(tokenizer=VIT), 'VisionTransformer has no tokenize, which a tokenizer needs'),
    ('dvae', dict(backbone=dict(stride=6)), 'the stride of a DVAEEncoder is 2, 4, 8, 16, ..., got 6'),
    ('mae', dict(backbone=dict(relative_position='both')), "relative_position='both': give True or False or 'shared'"),
])
def test_settings_that_do_not_fit(case, change, message):
    with pytest.raises(InputError, match=message):
        build(case, **change)


def test_a_dvae_is_no_vision_transformer():
    with pytest.raises(InputError, match='make model.backbone a DVAEEncoder, not a VisionTransformer'):
        MODELS.build(dict(type='mmdssl.DVAE', backbone=VIT))


@pytest.mark.parametrize('case', ['mae', 'maskfeat', 'beit'])
def test_views_that_do_not_fit(case):
    algorithm, views = build(case), views_for(case)
    with pytest.raises(InputError, match='masks of 4 x 4 patches do not fit views of 2 x 2: the patch_size of the mask must be'):
        build(case, backbone=dict(patch_size=16)).loss(views)
    views['global'].masks = None
    with pytest.raises(InputError, match='predicts masked patches, but nothing is masked: give train_dataloader.dataset.views.global_'):
        algorithm.loss(views)
    views.groups = dict(views.groups, local=views['global'])
    with pytest.raises(InputError, match='reads the view groups global, the data makes global, local'):
        algorithm.loss(views)


def test_mae_needs_as_many_patches_of_every_crop_and_positions_of_their_own():
    with pytest.raises(InputError, match="as many in every crop: make the mask dict\\(type='RandomMask', ratio=0.75, leave=True\\)"):
        build('mae').loss(views_for('beit'))
    with pytest.raises(InputError, match='left out of a sequence need position to be learnable or sincos: set relative_position=False'):
        build('mae', backbone=dict(relative_position=True)).loss(views_for('mae'))


def test_mae_freezes_a_mask_token_that_nobody_reads():
    algorithm = build('mae', backbone=dict(mask_token=True))
    algorithm.loss(views_for('mae'))['loss_pixels'].backward()
    assert not [name for name, p in algorithm.named_parameters() if p.requires_grad and p.grad is None]


def test_initial_values_of_mae_and_beit():
    sizes = dict(arch=dict(embed_dim=256, depth=3, num_heads=4), mask_token=True)
    mae, beit = VisionTransformer(init='mae', **sizes), VisionTransformer(init='beit', **sizes)
    for name, fans in (('patch_embed.proj', 256 + 768), ('blocks.1.attn.qkv', 256 + 768), ('blocks.2.mlp.fc1', 256 + 1024)):
        weight = mae.get_parameter(f'{name}.weight')
        bound = math.sqrt(6 / fans)
        assert 0.99 * bound < weight.abs().max() <= bound
    assert mae.cls_token.std().item() == pytest.approx(0.02, rel=0.2) and mae.cls_token.abs().max() > 0.03
    inside = 0.5396  # deviation of a normal variable that is cut at one deviation
    for name, scale in ({'cls_token': 1, 'mask_token': 1, 'patch_embed.proj.weight': 1}
                        | {f'blocks.{i}.{layer}.weight': 1 / math.sqrt(2 * (i + 1)) for i in range(3) for layer in ('attn.proj', 'mlp.fc2')}
                        | {'blocks.2.attn.qkv.weight': 1, 'blocks.1.mlp.fc1.weight': 1}).items():
        parameter = beit.get_parameter(name)
        assert parameter.std().item() == pytest.approx(0.02 * inside * scale, rel=0.1), name
        assert parameter.abs().max() <= 0.02 * scale
    assert not beit.patch_embed.proj.bias.any() and not mae.mask_token.any()
