from __future__ import annotations

import os
from io import BytesIO
from types import SimpleNamespace

import pytest
from mmengine.dataset import pseudo_collate
from mmengine.logging import MessageHub
from PIL import Image
from torch.utils.data import DataLoader

from mmdssl.datasets.transforms.load_image import keep_skipped
from mmdssl.engine.hooks import SkippedImagesHook
from mmdssl.errors import InputError
from mmdssl.registry import TRANSFORMS

TRAIN = [dict(type='mmdssl.LoadImage', skip_broken=True), dict(type='mmdet.LoadAnnotations', with_bbox=True),
         dict(type='mmdet.PackDetInputs')]


def break_images(root, *numbers):
    for number in numbers:
        path = root / f'images/{number}.png'
        path.write_bytes(path.read_bytes()[:50])


def test_intact_images_are_mmcvs(make_coco):
    ours, theirs = (make_coco(pipeline=[dict(type=name)])[1] for name in ('mmdssl.LoadImage', 'mmcv.LoadImageFromFile'))
    assert ours.pop('skipped') == []
    assert (ours.pop('img') == theirs.pop('img')).all()
    assert ours == theirs


@pytest.mark.parametrize('spoil', [break_images, lambda root, number: (root / f'images/{number}.png').unlink()])
def test_an_image_that_cannot_be_read_is_named(make_coco, coco_root, spoil):
    spoil(coco_root, 2)
    dataset = make_coco(pipeline=[dict(type='mmdssl.LoadImage')], test_mode=True)
    with pytest.raises(InputError, match=r'images/2.png. cannot be read \(\w+Error\)'):
        dataset[2]


def test_a_photo_that_is_cut_off_is_not_filled_with_grey(make_coco, coco_root):
    photo, file = Image.effect_noise((40, 30), 80), BytesIO()
    photo.save(file, 'jpeg')
    (coco_root / 'images/2.png').write_bytes(file.getvalue()[:-200])
    with pytest.raises(InputError, match=r'images/2.png. cannot be read'):
        make_coco(pipeline=[dict(type='mmdssl.LoadImage')], test_mode=True)[2]


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / 'pipe.png')
    with pytest.raises(InputError, match=r'pipe.png. cannot be read'):
        TRANSFORMS.build(dict(type='mmdssl.LoadImage'))(dict(img_path=str(tmp_path / 'pipe.png')))


def test_an_orientation_is_applied_and_a_damaged_one_is_not(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, data, shape in (('turned.jpg', exif, (40, 30)), ('damaged.jpg', b'Exif\0\0nonsense', (30, 40))):
        Image.new('RGB', (40, 30)).save(tmp_path / name, exif=data)
        assert TRANSFORMS.build(dict(type='mmdssl.LoadImage'))(dict(img_path=str(tmp_path / name)))['img_shape'] == shape


def test_in_training_another_image_takes_its_place_and_the_hook_hears_of_it(make_coco, coco_root):
    break_images(coco_root, 2)
    dataset = make_coco(pipeline=TRAIN)
    keep_skipped(dataset)
    loader = DataLoader(dataset, 2, num_workers=1, collate_fn=pseudo_collate)
    log = []
    runner = SimpleNamespace(iter=0, train_dataloader=loader, message_hub=MessageHub('load_image'),
                             logger=SimpleNamespace(warning=log.append))
    hook = SkippedImagesHook(max_share=0.5, interval=100)
    hook.before_train(runner)
    for _ in range(2):
        for index, batch in enumerate(loader):
            assert len(batch['inputs']) == 2
            hook.after_train_iter(runner, index, data_batch=batch)
    assert len(log) == 1 and 'images/2.png cannot be decoded, another image takes its place (1 so far)' in log[0]


def test_a_folder_of_broken_images_stops_the_run(make_coco, coco_root):
    break_images(coco_root, *range(4))
    with pytest.raises(InputError, match='10 images in a row cannot be read, first .*0.png'):
        make_coco(pipeline=TRAIN)[0]
