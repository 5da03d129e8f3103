from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image
from processes import load_tool, run_tool
from sklearn.metrics import jaccard_score
from torch import nn

from mmdssl.checkpoint import save_backbone
from mmdssl.datasets.palette import VOID
from mmdssl.errors import InputError
from mmdssl.protocols import LinearSegmentation, NormalisedLinearHead, SegmentationMetric
from mmdssl.protocols.patches import square_grid
from mmdssl.protocols.segmentation_scores import confusion, shrink
from mmdssl.registry import MODELS
from mmdssl.results.records import read_records

ROOT = Path(__file__).parents[2]
PATCH = 8


@MODELS.register_module()
class PatchColours(nn.Module):
    """The mean colour of each patch, or the same vector for all; with layers that training would move."""
    num_blocks, patch_size = 1, PATCH

    def __init__(self, constant: bool = False):
        super().__init__()
        self.constant = constant
        self.norm = nn.BatchNorm2d(3, affine=True)
        self.dropout = nn.Dropout(0.5)

    def intermediates(self, images, blocks, facet='token', norm=True):
        maps = self.dropout(self.norm(F.avg_pool2d(images, PATCH)))
        patches = maps.flatten(2).transpose(1, 2)
        return [(None, torch.ones_like(patches) if self.constant else patches)]


def model_of(mask_size: int = 4, num_classes: int = 3, **backbone) -> LinearSegmentation:
    torch.manual_seed(0)
    return LinearSegmentation(dict(type='PatchColours', **backbone), num_classes, mask_size=mask_size)


def coloured(n: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Images of 4 x 4 patches in the colour of their class, and masks; a corner does not count."""
    cells = torch.randint(0, 3, (n, 4, 4), generator=torch.Generator().manual_seed(1)).clamp(max=2)
    cells[:, :2, :3] = 0  # the majority
    masks = cells.repeat_interleave(PATCH, 1).repeat_interleave(PATCH, 2)
    images = F.one_hot(masks, 3).movedim(-1, 1).float()
    masks[:, :PATCH, -PATCH:] = VOID
    return images, masks.to(torch.uint8)


def train(model: LinearSegmentation, images: torch.Tensor, masks: torch.Tensor, steps: int = 100, lr: float = 2.) -> None:
    optimizer = torch.optim.SGD(model.linear.parameters(), lr=lr, momentum=0.9)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        model.loss(images, masks)['loss_ce'].backward()
        optimizer.step()


@torch.no_grad()
def scored(model: LinearSegmentation, images: torch.Tensor, masks: torch.Tensor) -> dict[str, float]:
    model.eval()
    patches = model.extractor(model.backbone, images)
    predicted = model.scores(patches, square_grid(model.backbone, patches.shape[1], images.shape[-1])).argmax(1)
    return SegmentationMetric()(confusion(predicted, shrink(masks, model.mask_size), *[model.num_classes] * 2))


def bilinear(size: int, wanted: int) -> np.ndarray:
    """The matrix ``(wanted, size)`` of linear interpolation between centres of pixels."""
    matrix = np.zeros((wanted, size))
    for i in range(wanted):
        at = min(max((i + 0.5) * size / wanted - 0.5, 0), size - 1)
        left = min(int(at), size - 1)
        matrix[i, left] += 1 - (at - left)
        matrix[i, min(left + 1, size - 1)] += at - left
    return matrix


def test_the_loss_is_that_of_features_resized_to_100_pixels():
    """In float64 and with loops: features are resized first, masks by their indices; pixels without a class do not count."""
    model, (images, masks) = model_of(mask_size=100), coloured(2)
    images = images + 0.3 * torch.randn(images.shape, generator=torch.Generator().manual_seed(2))
    found = model.loss(images, masks)
    maps = model.extractor(model.backbone, images).detach().double().numpy().reshape(2, 4, 4, 3)
    resize = bilinear(4, 100)
    weight, bias = (parameter.detach().double().numpy() for parameter in (model.linear.weight[..., 0, 0], model.linear.bias))
    rows = [int(i * 32 / 100) for i in range(100)]
    losses, right = [], []
    for one, mask in zip(maps, masks.numpy()):
        logits = np.einsum('ia,abd,jb->ijd', resize, one, resize) @ weight.T + bias
        truth = mask[rows][:, rows]
        for i, j in np.argwhere(truth != VOID):
            losses.append(np.log(np.exp(logits[i, j]).sum()) - logits[i, j, truth[i, j]])
            right.append(logits[i, j].argmax() == truth[i, j])
    assert len(losses) < 20000
    assert found['loss_ce'].item() == pytest.approx(np.mean(losses), rel=1e-5)
    assert found['accuracy'].item() == pytest.approx(100 * np.mean(right), abs=1e-3)


def test_a_batch_without_any_class_teaches_nothing():
    model, (images, masks) = model_of(), coloured(2)
    loss = model.loss(images, torch.full_like(masks, VOID))['loss_ce']
    loss.backward()
    assert loss == 0 and not model.linear.weight.grad.any()


def test_the_backbone_stays_as_it_is():
    """Neither parameters nor statistics move, nothing is dropped, and no gradient reaches it."""
    model, (images, masks) = model_of(), coloured()
    before = copy.deepcopy(model.backbone.state_dict())
    train(model, images, masks, steps=3)
    assert all(torch.equal(value, before[name]) for name, value in model.backbone.state_dict().items())
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in model.backbone.parameters())
    assert torch.equal(model.loss(images, masks)['loss_ce'], model.loss(images, masks)['loss_ce'])
    assert model.linear.weight.grad.any()


def test_perfect_features_are_perfect_and_constant_ones_the_majority():
    images, masks = coloured()
    model = model_of()
    train(model, images, masks)
    assert scored(model, images, masks) == dict(mIoU_leopart=100, mIoU_clean=100, accuracy=100)
    model = model_of(constant=True)
    train(model, images, masks, lr=0.1)
    found = scored(model, images, masks)
    share = (masks == 0).sum().item() / (masks != VOID).sum().item()
    assert found['accuracy'] == pytest.approx(100 * share) and found['mIoU_clean'] == pytest.approx(100 * share / 3)


def test_scores_are_those_of_scikit_learn():
    draw = torch.Generator().manual_seed(3)
    truth, predicted = (torch.randint(0, 5, (4, 9, 9), generator=draw) for _ in range(2))
    truth[0, :3] = VOID
    counted = truth != VOID
    matrix = confusion(predicted, truth, 7, 7)  # 5 and 6 are nowhere
    iou = jaccard_score(truth[counted], predicted[counted], labels=range(7), average=None, zero_division=0)
    found = SegmentationMetric()(matrix)
    assert found['mIoU_leopart'] == pytest.approx(100 * iou.mean()) and found['mIoU_clean'] == pytest.approx(100 * iou[:5].mean())
    assert found['accuracy'] == pytest.approx(100 * (truth == predicted)[counted].double().mean().item())
    assert SegmentationMetric(void_classes=1)(matrix)['mIoU_leopart'] == pytest.approx(100 * iou.sum() / 8)
    with pytest.raises(InputError, match='no pixel of the images'):
        SegmentationMetric()(torch.zeros(3, 3, dtype=torch.int64))


def test_what_cannot_be_classified_is_refused():
    with pytest.raises(InputError, match="the extractor reads 'mean': set read"):
        LinearSegmentation(dict(type='PatchColours'), 3, extractor=dict(read='mean'))
    with pytest.raises(InputError, match='images of 36 px are not of whole patches of 8 px'):
        model_of().loss(torch.zeros(1, 3, 36, 36), torch.zeros(1, 36, 36, dtype=torch.uint8))


class Sample:
    """What mmseg gives a decode head."""

    def __init__(self, labels: torch.Tensor):
        self.gt_sem_seg = type('PixelData', (), dict(data=labels[None]))


def test_the_head_of_dinov3_against_its_definition():
    """Batch statistics, a linear map, logits at the size of the labels, and a mean over all pixels of the losses of those with a label."""
    torch.manual_seed(0)
    head = NormalisedLinearHead(6, 4, dropout=0.).double()
    assert not head.linear.bias.any() and head.linear.weight.std().item() == pytest.approx(0.01, rel=0.4)
    maps, labels = torch.randn(2, 6, 3, 5).double(), torch.randint(0, 4, (2, 24, 40))
    labels[1, :10] = VOID
    found = head.train().loss([None, maps], [Sample(each) for each in labels])
    mean, variance = maps.mean((0, 2, 3), keepdim=True), maps.var((0, 2, 3), unbiased=False, keepdim=True)
    logits = torch.einsum('kd,bdhw->bkhw', head.linear.weight[..., 0, 0], (maps - mean) / (variance + 1e-5).sqrt())
    rows, columns = (torch.from_numpy(bilinear(*sizes)) for sizes in ((3, 24), (5, 40)))
    logits = torch.einsum('ih,bkhw,jw->bkij', rows, logits, columns)
    chosen = logits.log_softmax(1).gather(1, labels.clamp(max=3)[:, None])[:, 0]
    torch.testing.assert_close(found['loss_ce'], -chosen[labels != VOID].sum() / labels.numel())
    assert head.norm.num_batches_tracked == 1
    head.eval()
    assert head.predict([maps], [dict(img_shape=torch.Size((20, 33)), pad_shape=(24, 40))], {}).shape == (2, 4, 20, 33)
    assert head.predict([maps], [dict(img_shape=(20, 33), pad_shape=(24, 40))], {}).shape == (2, 4, 24, 40)


def test_channels_are_dropped_before_they_are_normalised():
    """As DINOv3 has it: a channel of zeros is what normalisation makes of it, not zero."""
    torch.manual_seed(0)
    head = NormalisedLinearHead(64, 2, dropout=0.5)
    seen = []
    head.norm.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    head.train()([torch.rand(1, 64, 4, 4) + 1])
    dropped = (seen[0] == 0).flatten(2).all(-1)
    assert 10 < dropped.sum() < 54 and torch.equal(dropped, (seen[0] == 0).flatten(2).any(-1))


def test_the_backbone_of_dinov3s_segmentor_is_frozen():
    cfg = Config.fromfile(ROOT / 'configs/dense/small_linear-dinov3_world.py')
    with DefaultScope.overwrite_default_scope('mmseg'):
        from mmengine.registry import MODELS as ROOT_MODELS
        cfg.model.backbone.update(drop_path_rate=0.9, arch=dict(embed_dim=32, depth=2, num_heads=2))
        cfg.model.decode_head.in_channels = 32
        model = ROOT_MODELS.build(cfg.model).train()
    images, samples = torch.randn(2, 3, 64, 64), [Sample(torch.randint(0, 11, (64, 64))) for _ in range(2)]
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD([each for each in model.parameters() if each.requires_grad], lr=1.)
    features = model.extract_feat(images)
    assert not features[-1].requires_grad and torch.equal(features[-1], model.extract_feat(images)[-1])
    model.loss(images, samples)['decode.loss_ce'].backward()
    optimizer.step()
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {f'decode_head.{name}' for name in ('linear.weight', 'linear.bias', 'norm.weight', 'norm.bias', 'norm.running_mean',
                                                        'norm.running_var', 'norm.num_batches_tracked')}
    assert all(parameter.grad is None for parameter in model.backbone.parameters())


@pytest.fixture(scope='module')
def root(tmp_path_factory) -> Path:
    """Eight images to train on and three to evaluate, of four colours that are the classes; one of the three is damaged."""
    folder, rng = tmp_path_factory.mktemp('masks'), np.random.default_rng(0)
    palette = rng.integers(0, 256, (4, 3))
    for split, number in (('train', 8), ('val', 4)):
        for part in ('images', 'annotations'):
            (folder / part / split).mkdir(parents=True)
        for i in range(number):
            ids = rng.integers(0, 4, (4, 4)).repeat(12, 0).repeat(16, 1).astype(np.uint8)
            Image.fromarray(palette[ids].astype(np.uint8)).save(folder / f'images/{split}/{i}.png')
            Image.fromarray(ids).save(folder / f'annotations/{split}/{i}.png')
    (folder / 'images/val/3.png').write_bytes(b'none')
    return folder


@pytest.fixture(scope='module')
def backbone(tmp_path_factory) -> Path:
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp('weights') / 'backbone.safetensors'
    cfg = dict(type='mmdssl.VisionTransformer', arch=dict(embed_dim=32, depth=2, num_heads=2), patch_size=8, img_size=64,
               position='sincos')
    save_backbone(MODELS.build(cfg), path, cfg)
    return path


LEOPART = """
_base_ = '{root}/configs/dense/small_linear-leopart_camvid.py'
few = dict(classes=['a', 'b', 'c', 'd'], ignore=[], size=64)
model = dict(num_classes=4, mask_size=16)
train_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False, dataset=few)
val_dataloader = test_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False, dataset=few)
train_cfg = dict(max_epochs=3, val_interval=3)
auto_scale_lr = dict(base_batch_size=4)
del few
"""


def test_leoparts_runs_from_the_command_line_on_one_process_and_on_two(root, backbone, tmp_path):
    config = tmp_path / 'config.py'
    config.write_text(LEOPART.format(root=ROOT))
    args = (config, '--data', root, '--pretrained', backbone)
    said = run_tool('train', *args, '--work-dir', tmp_path / 'one')
    run_tool('train', *args, '--work-dir', tmp_path / 'two', '--cfg-options', 'train_dataloader.batch_size=2', processes=2)
    records = [read_records(tmp_path / name / 'results.jsonl')[-1] for name in ('one', 'two')]
    assert '1 of the 4 images' in said and '3.png' in said  # the damaged one
    assert records[0]['task'] == 'linear-leopart' and records[0]['backbone'] == 'vit-2x32/8' and records[0]['epoch'] == 3
    assert records[0]['setting'] == dict(image=64, mask=16, classes=4)
    one, two = (torch.load(tmp_path / name / 'epoch_3.pth', weights_only=False)['state_dict'] for name in ('one', 'two'))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=1e-6)
    assert records[1]['metrics'] == pytest.approx(records[0]['metrics'], abs=0.2)
    run_tool('test', tmp_path / 'one/config.py', tmp_path / 'one/epoch_3.pth', '--data', root, '--work-dir', tmp_path / 'test', processes=2)
    assert read_records(tmp_path / 'test/results.jsonl')[-1]['metrics'] == pytest.approx(records[0]['metrics'], abs=1e-4)


@pytest.mark.parametrize('options, said', [
    (['model.num_classes=5'], 'has 4 classes and the model 5: set model.num_classes to 4'),
    (['val_dataloader.dataset.size=60'], 'images of 60 px are not of whole patches of 8 px'),
    (['train_dataloader.dataset.masks=nowhere'], 'nowhere'),
])
def test_leoparts_says_what_is_wrong_with_the_data(root, backbone, tmp_path, capsys, options, said):
    config = tmp_path / 'config.py'
    config.write_text(LEOPART.format(root=ROOT))
    options = [*options, 'train_cfg.max_epochs=1', 'train_cfg.val_interval=1']
    args = [str(config), '--data', str(root), '--pretrained', str(backbone), '--work-dir', str(tmp_path / 'run'), '--cfg-options', *options]
    assert load_tool('train').main(args) == 2
    assert said in ' '.join(capsys.readouterr().err.split())


def test_dinov3s_runs_from_the_command_line(root, backbone, tmp_path):
    few = ['train_dataloader.batch_size=4', 'train_cfg.max_iters=2', 'train_cfg.val_interval=2', 'val_dataloader.dataset.indices=3']
    for loader in ('train', 'val'):
        few += [f'{loader}_dataloader.num_workers=0', f'{loader}_dataloader.persistent_workers=False']
    run_tool('train', ROOT / 'configs/dense/small_linear-dinov3_camvid.py', '--data', root, '--pretrained', backbone, '--work-dir',
             tmp_path / 'run', '--cfg-options', *few)
    record = read_records(tmp_path / 'run/results.jsonl')[-1]
    assert record['task'] == 'linear-dinov3' and record['dataset_name'] == root.name and 0 <= record['metrics']['mIoU'] <= 100
    assert record['setting'] == dict(image=128, mask='original', classes=11, ignored=11)
