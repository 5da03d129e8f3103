from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from tiny_videos import drifting, large
from torch import nn

from mmdssl.errors import InputError
from mmdssl.protocols.propagation import masks_of_labels, propagate, tokens_of_mask
from mmdssl.registry import MODELS


@MODELS.register_module()
class PooledPixels(nn.Module):
    """Two maps of average colours; the last one has the given stride."""

    def __init__(self, stride: int = 8, single: bool = False):
        super().__init__()
        self.stride, self.single = stride, single

    def forward(self, images):
        maps = F.avg_pool2d(images, 2), F.avg_pool2d(images, self.stride, ceil_mode=True)
        return maps[-1] if self.single else maps


def make(backbone='PooledPixels', **kwargs):
    backbone = dict(type=backbone) if isinstance(backbone, str) else backbone
    return MODELS.build(dict(type='MaskPropagation', backbone=backbone, **kwargs))


def frames(number=5, height=32, width=64):
    return torch.randint(0, 256, (number, 3, height, width), dtype=torch.uint8)


def first_mask(height=40, width=70):
    mask = np.zeros((height, width), np.uint8)
    mask[:, :30], mask[20:, 50:] = 1, 2
    return mask


@pytest.mark.parametrize('single', [False, True])
def test_features_are_the_last_map_of_pixels_normalised_as_by_dino(single):
    video = frames()
    features = make(dict(type='PooledPixels', single=single)).features(video)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ([.485, .456, .406], [.228, .224, .225]))
    expected = F.avg_pool2d((video / 255 - mean) / std, 8)
    assert torch.allclose(features, expected / expected.norm(dim=1, keepdim=True), atol=1e-5)


def test_prediction_is_propagation_of_the_first_mask(tiny_backbone):
    video = frames()
    model = make(tiny_backbone, context_frames=2, radius=3, top_k=4, temperature=0.2, frames_per_forward=2)
    masks = model.predict(video, first_mask())['']
    with torch.no_grad():
        features = F.normalize(model.backbone((video - model.data_preprocessor.mean) / model.data_preprocessor.std)[-1], dim=1)
    labels = propagate(features, tokens_of_mask(first_mask(), (4, 8)), 2, 3, 4, 0.2)
    assert masks.shape == (5, 40, 70) and masks.dtype == np.uint8
    assert np.array_equal(masks[0], first_mask())
    expected = masks_of_labels(labels, (32, 64), (40, 70))[1:]
    assert np.mean(masks[1:] != expected) < 0.01  # batches of other sizes round differently
    assert set(np.unique(masks[1:])) == {0, 1, 2}


def test_frames_per_forward_changes_nothing(tiny_backbone):
    video, (one, many) = frames(), (make(tiny_backbone, frames_per_forward=n) for n in (1, 8))
    many.load_state_dict(one.state_dict())
    assert torch.allclose(one.features(video), many.features(video), atol=1e-5)


def test_a_still_video_keeps_its_mask():
    video = frames(1).expand(6, -1, -1, -1)
    mask = np.zeros((32, 64), np.uint8)
    mask[:, 24:] = 1
    assert (make(top_k=1).predict(video, mask)[''] == mask).all()


def test_several_numbers_of_context_frames_are_each_as_alone():
    video = frames()
    sweep = make(context_frames=[1, 3]).predict(video, first_mask())
    assert list(sweep) == ['context1', 'context3']
    for number in (1, 3):
        assert np.array_equal(sweep[f'context{number}'], make(context_frames=number).predict(video, first_mask())[''])
    assert not np.array_equal(*sweep.values())


def test_rules_of_crw_have_soft_labels_and_do_not_stretch():
    video, mask = frames(), first_mask()
    mask[:, 30] = 1
    model = make(rules='crw', keep_first=False, context_frames=2, radius=3, top_k=4, temperature=0.2)
    rows, columns = [int((y + 0.5) * 40 / 32) for y in range(32)], [int((x + 0.5) * 70 / 64) for x in range(64)]
    onehot = F.one_hot(torch.from_numpy(mask[rows][:, columns]).long(), 3).permute(2, 0, 1).float()
    # the middle of a cell lies between its four middle pixels
    maps = torch.stack([torch.stack([onehot[:, y + dy, x + dx] for dy in (3, 4) for dx in (3, 4)]).mean(0)
                        for y in range(0, 32, 8) for x in range(0, 64, 8)], 1).view(3, 4, 8)
    assert ((maps > 0) & (maps < 1)).any()
    labels = propagate(model.features(video), maps, 2, 3, 4, 0.2)
    expected = F.interpolate(labels, (32, 64), mode='bilinear').argmax(1).byte().numpy()
    expected = [np.array(Image.fromarray(ids).resize((70, 40), Image.Resampling.NEAREST)) for ids in expected]
    assert np.array_equal(model.predict(video, mask)[''], expected)


def test_rules_of_dinov3_compare_maps_at_the_size_of_the_mask():
    video, mask = frames(), first_mask()
    model = make(rules='dinov3', context_frames=2, radius=3, top_k=4, temperature=0.2, neighbourhood='circle')
    labels = propagate(model.features(video), tokens_of_mask(mask, (4, 8)), 2, 3, 4, 0.2, 'circle')
    low, high = labels.amin((2, 3), keepdim=True), labels.amax((2, 3), keepdim=True)
    ids = ((labels - low) / (high - low)).nan_to_num(0).argmax(1)[1:]
    found = model.predict(video, mask)['']
    assert np.array_equal(found[0], mask)
    for y in range(40):
        for x in range(70):
            assert np.array_equal(found[1:, y, x], ids[:, y * 4 // 40, x * 8 // 70])


def test_an_object_that_appears_later_is_followed_from_there():
    """And what a later mask says of objects that are known already is passed over."""
    video = torch.from_numpy(drifting(6)).permute(0, 3, 1, 2)
    cells = np.zeros((6, 16), np.uint8)
    cells[1:3, 7:9] = 1
    new = np.zeros((6, 16), np.uint8)
    new[3:5, 8:10], new[0, 0] = 5, 1
    expected = np.stack([large(np.roll(cells, -t, 1) + (np.roll(np.where(new == 5, new, 0), 2 - t, 1) if t >= 2 else 0)) for t in range(6)])
    model = make(rules='dinov3', top_k=1, radius=2, context_frames=1)
    masks = model.predict(video, large(cells), {4: large(np.roll(cells, -2, 1)), 2: large(new)})['']
    assert np.array_equal(masks, expected)
    assert np.array_equal(make(copy_first=True).predict(video, large(cells), {2: large(new)})[''][[1, 5]],
                          [large(cells), large(cells + np.where(new == 5, new, 0))])


def test_copy_first_repeats_the_mask():
    masks = make(copy_first=True).predict(frames(), first_mask())['']
    assert masks.shape == (5, 40, 70) and (masks == first_mask()).all()


def test_it_stays_in_eval_mode_and_its_steps_are_timed(tiny_backbone):
    model = make(tiny_backbone).train()
    assert not any(module.training for module in model.modules())
    sequence = dict(frames=frames(), first_mask=torch.from_numpy(first_mask()))
    prediction, = model.test_step([sequence])
    assert prediction['seconds'] > 0 and prediction['masks'][''].shape == (5, 40, 70)
    with pytest.raises(ValueError, match='nothing is trained'):
        model([sequence], mode='loss')


def test_bf16_is_close_to_fp32(tiny_backbone):
    video, (full, half) = frames(), (make(tiny_backbone, amp=amp) for amp in (None, 'bf16'))
    half.load_state_dict(full.state_dict())
    difference = (full.predict(video, first_mask())[''] != half.predict(video, first_mask())['']).mean()
    with torch.no_grad():
        error = (full.features(video) - half.features(video)).norm(dim=1).max()
    assert 0 < error < 0.05 and difference < 0.2
    with pytest.raises(InputError, match="amp='half': give 'bf16', 'fp16' or None"):
        make(tiny_backbone, amp='half')


def test_propagation_is_in_fp32_inside_autocast():
    video, model = frames(), make()
    with torch.autocast('cpu', torch.bfloat16):
        masks = model.predict(video, first_mask())['']
    assert np.array_equal(masks, model.predict(video, first_mask())[''])


def test_weights_named_in_the_config_are_there_without_training(tiny_backbone, tmp_path):
    source = MODELS.build(tiny_backbone)
    torch.save(source.state_dict(), tmp_path / 'weights.pth')
    model = make(dict(tiny_backbone, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'weights.pth'))))
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in model.backbone.state_dict().items())


@pytest.mark.parametrize('size', [(36, 64), (32, 60)])
def test_frames_that_are_no_whole_patches_are_an_error(size):
    with pytest.raises(InputError, match='set short_side and long_side_step'):
        make().predict(frames(2, *size), first_mask())
