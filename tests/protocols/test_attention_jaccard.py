from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import gaussian_blur

from mmdssl.datasets import VOCInstances
from mmdssl.errors import InputError
from mmdssl.protocols.attention_jaccard import AttentionMasks, attention_masks, best_jaccards, merged_mask, neco_jaccards


def smallest_set(weights: list[float], mass: float) -> set[int]:
    """By sorting: token after token, the heaviest first, until they have the mass."""
    chosen, total = set(), 0.
    for i in sorted(range(len(weights)), key=lambda i: -weights[i]):
        if total >= mass * sum(weights):
            break
        chosen.add(i)
        total += weights[i]
    return chosen


@pytest.mark.parametrize('mass', [0.1, 0.6, 0.95])
def test_the_smallest_set_equals_a_loop(mass):
    attention = torch.rand(5, 6, 7)**4 * torch.rand(5, 1, 1)  # heads need not sum to 1: the class token attends to itself too
    for mask, weights in zip(attention_masks(attention, mass), attention):
        assert set(mask.flatten().nonzero().flatten().tolist()) == smallest_set(weights.double().flatten().tolist(), mass)


def test_ascending_and_cut_below_the_rest_is_the_same():
    """DINO's way: of the sorted cumulative sum, what is above 1 - mass."""
    attention = torch.rand(3, 4, 4).double()
    values, order = (attention / attention.sum((1, 2), keepdim=True)).flatten(1).sort()
    kept = torch.zeros(3, 16, dtype=torch.bool).scatter(1, order, values.cumsum(1) > 0.4)
    assert torch.equal(attention_masks(attention.float()), kept.view(3, 4, 4))


def slow_jaccards(masks, ids):
    def best(wanted):
        values = []
        for mask in masks:
            pixels = [(bool(m), bool(w)) for m, w, i in zip(mask.ravel(), wanted.ravel(), ids.ravel()) if i != 255]
            values.append(sum(m and w for m, w in pixels) / sum(m or w for m, w in pixels))
        return max(values)
    numbers = sorted(set(ids.ravel().tolist()) - {0, 255})
    return np.mean([best(ids == number) for number in numbers]), best((ids != 0) & (ids != 255))


def test_jaccards_equal_a_loop_and_what_is_void_does_not_count():
    rng = np.random.default_rng(0)
    masks, ids = rng.random((4, 9, 11)) < 0.4, rng.choice([0, 0, 1, 2, 7, 255], (9, 11))
    assert best_jaccards(masks, ids) == pytest.approx(slow_jaccards(masks, ids))
    masks[:, ids == 255] ^= True
    assert best_jaccards(masks, ids) == pytest.approx(slow_jaccards(masks, ids))


def test_each_object_has_its_best_head():
    ids = np.array([[1, 1, 0, 2, 255]])
    masks = np.array([[[1, 1, 0, 0, 1]], [[0, 0, 1, 1, 0]]], dtype=bool)
    assert best_jaccards(masks, ids) == pytest.approx(((1 + 1 / 2) / 2, 2 / 3))
    assert best_jaccards(masks, np.array([[0, 0, 0, 255, 255]])) is None


def pieces(mask: torch.Tensor) -> list[set[tuple[int, int]]]:
    """Cells that touch, also at corners."""
    left, found = {tuple(cell) for cell in mask.nonzero().tolist()}, []
    while left:
        todo, piece = [left.pop()], set()
        while todo:
            y, x = todo.pop()
            piece.add((y, x))
            around = {(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= around
            todo += around
        found.append(piece)
    return found


@pytest.mark.parametrize('mass', [0.3, 0.6])
def test_all_heads_are_merged_blurred_and_freed_of_specks(mass):
    attention = torch.rand(3, 11, 9)**6
    attention[:, 9:, 7:] = attention[:, :9, 3] = 0
    attention[:, 10, 8] = 5
    blurred = gaussian_blur(attention.mean(0)[None], 7, 0.6)[0]
    chosen = torch.zeros(99, dtype=torch.bool)
    chosen[list(smallest_set(blurred.flatten().double().tolist(), mass))] = True
    kept = {cell for piece in pieces(chosen.view(11, 9)) if len(piece) > 2 for cell in piece}
    assert 0 < len(kept) < chosen.sum(), 'else no speck was there'
    assert {tuple(cell) for cell in merged_mask(attention, mass).nonzero().tolist()} == kept


def test_necos_two_rules_equal_a_loop():
    rng = np.random.default_rng(0)
    masks, ids = rng.random((4, 9, 11)) < 0.4, rng.choice([0, 0, 1, 2, 7, 255], (9, 11))
    merged = masks.any(0)

    def jaccard(mask, wanted):
        pairs = [(m, w) for m, w in zip(mask.ravel(), wanted.ravel())]
        return sum(m and w for m, w in pairs) / sum(m or w for m, w in pairs)
    best = np.mean([max(jaccard(mask, ids == number) for mask in masks) for number in (1, 2, 7)])
    assert neco_jaccards(masks, merged, ids) == pytest.approx((jaccard(merged, ids > 0), best))
    assert neco_jaccards(masks, merged, np.where(ids == 255, 255, 0)) is None
    assert neco_jaccards(merged[None], ids > 0, ids)[0] == 1


@pytest.fixture
def root(tmp_path) -> Path:
    """Five photos with bright objects; one without any, one where all is void."""
    rng = np.random.default_rng(0)
    for folder in ('JPEGImages', 'SegmentationObject', 'ImageSets/Segmentation'):
        (tmp_path / 'voc' / folder).mkdir(parents=True)
    for i in range(5):
        ids = np.zeros((40 + i, 50), np.uint8)
        if i < 3:
            ids[5:20, 5:25] = 1
            ids[25:35, 10 * i:10 * i + 15] = 2
            ids[20:22] = 255
        ids[:] = 255 if i == 4 else ids
        pixels = rng.integers(0, 60, (*ids.shape, 3)) + 150 * (ids > 0)[..., None]
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f'voc/JPEGImages/{i}.jpg')
        Image.fromarray(ids).save(tmp_path / f'voc/SegmentationObject/{i}.png')
    (tmp_path / 'voc/ImageSets/Segmentation/val.txt').write_text('0\n1\n2\n3\n4\n')
    return tmp_path / 'voc'


def test_masks_are_upsampled_tokens_and_what_fills_no_patch_is_in_none(tiny_backbone):
    model = AttentionMasks(tiny_backbone)
    image = torch.randint(0, 256, (3, 37, 44), dtype=torch.uint8)
    masks = model([dict(image=image, mask_path='x')])[0]['masks']
    statistics = model.data_preprocessor
    with torch.no_grad():
        attention = model.backbone.attention_maps(((image[:, :32, :40] - statistics.mean) / statistics.std)[None])[0]
    assert masks.shape == (2, 37, 44) and not masks[:, 32:].any() and not masks[:, :, 40:].any()
    for mask, weights in zip(masks, attention):
        chosen = smallest_set(weights.double().flatten().tolist(), 0.6)
        assert all(bool(mask[y, x]) == (y // 8 * 5 + x // 8 in chosen) for y in range(32) for x in range(40))


def test_a_backbone_without_attention_of_a_class_token():
    with pytest.raises(InputError, match='TimmBackbone has no attention_maps'):
        AttentionMasks(dict(type='mmdssl.TimmBackbone', name='resnet10t'))


def test_what_is_missing_is_named_at_once(root):
    (root / 'SegmentationObject/2.png').unlink()
    with pytest.raises(InputError, match='1 images and masks of the 5 .* first .*SegmentationObject/2.png'):
        VOCInstances(str(root))
    with pytest.raises(InputError, match="test.txt' does not exist: set data_root to the folder of VOC 2012"):
        VOCInstances(str(root), 'test')


def test_jaccard_from_the_command_line_with_one_process_and_two(root, tiny_backbone, tiny_weights, evaluated):
    config, size = 'configs/dense/attention-jaccard_voc12.py', 'test_dataloader.dataset.size=48'
    found = evaluated(config, root, size)
    assert evaluated(config, root, size, processes=2) == found
    model = AttentionMasks(dict(tiny_backbone, init_cfg=dict(type='SSLPretrained', checkpoint=str(tiny_weights))))
    dataset, scores = VOCInstances(str(root), size=48), []
    for i in range(3):
        ids = np.array(Image.open(root / f'SegmentationObject/{i}.png'))
        masks = np.stack([np.array(Image.fromarray(mask.numpy()).resize(ids.shape[::-1], Image.Resampling.NEAREST))
                          for mask in model([dataset[i]])[0]['masks']])
        scores.append(slow_jaccards(masks, ids))
    assert [found['jaccard'], found['jaccard_foreground']] == pytest.approx(100 * np.mean(scores, axis=0), abs=1e-3)


def test_necos_rules_from_the_command_line(root, tiny_backbone, tiny_weights, evaluated):
    (root / 'SegmentationObject').rename(root / 'SegmentationClass')
    found = evaluated('configs/dense/attention-jaccard-neco_voc12.py', root, 'test_dataloader.dataset.size=44')
    model = AttentionMasks(dict(tiny_backbone, init_cfg=dict(type='SSLPretrained', checkpoint=str(tiny_weights))))
    dataset, scores = VOCInstances(str(root), size=44, annotation='SegmentationClass'), []
    for i in range(3):
        ids = np.array(Image.open(root / f'SegmentationClass/{i}.png').resize((44, 44), Image.Resampling.NEAREST))
        predicted = model([dataset[i]])[0]
        assert not predicted['merged'][40:].any(), 'these pixels fill no patch'
        scores.append(neco_jaccards(predicted['masks'].numpy(), predicted['merged'].numpy(), ids))
    assert [found['jaccard_merged'], found['jaccard_best_head']] == pytest.approx(100 * np.mean(scores, axis=0), abs=1e-3)
