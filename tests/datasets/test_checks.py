from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from mmengine.dataset import ConcatDataset, RepeatDataset
from mmengine.registry import DefaultScope
from PIL import Image

from mmdssl.datasets.checks import check_labelled_data, explain_unusable_data, plain_datasets
from mmdssl.errors import InputError


def add(*annotations):
    """Add copies of the first annotation with some keys changed, numbered from 20."""
    def change(coco):
        for number, changes in enumerate(annotations, 20):
            coco['annotations'].append({**coco['annotations'][0], 'id': number, **changes})
    return change


def test_datasets_are_found_inside_wrappers(make_coco):
    first, second = make_coco(), make_coco()
    assert list(plain_datasets(ConcatDataset([first, second]))) == [first, second]
    assert list(plain_datasets(torch.utils.data.ConcatDataset([RepeatDataset(first, 3), second]))) == [first, second]


def test_good_data_gives_no_warning(make_coco):
    assert list(check_labelled_data(RepeatDataset(make_coco(), 2))) == []


def test_missing_images_are_counted_and_named(make_coco, coco_root):
    dataset = RepeatDataset(make_coco(), 2)
    for name in ('1.png', '3.png'):
        (coco_root / 'images' / name).unlink()
    with pytest.raises(InputError, match='2 of the 4 images of .*annotations.json. do not exist, .*1.png, .*3.png'):
        list(check_labelled_data(dataset))


def test_images_in_remote_stores_are_not_looked_for(make_coco, coco_root):
    assert list(check_labelled_data(make_coco(data_prefix=dict(img='s3://bucket/images')))) == []


def test_senseless_annotations_are_counted_and_left_out(make_coco):
    change = add(dict(bbox=[45, 5, 9, 9]), dict(bbox=[5, -20, 9, 20]), dict(area=0), dict(bbox=[1, 1, 0.5, 9]),
                 dict(category_id=4), dict(image_id=99), dict(ignore=1))
    dataset = make_coco(change)
    assert [len(info['instances']) for info in dataset] == [1, 1, 1, 0]
    warning, = check_labelled_data(dataset)
    assert warning.endswith('are left out: 2 outside the image (id 20, 21), 2 without area (id 22, 23), '
                            '1 of an unknown category (id 24), 1 of an unknown image (id 25)')
    dataset.test_mode = True
    assert 'may lower the scores: 2 outside' in next(check_labelled_data(dataset))


def test_only_the_first_ids_are_named(make_coco):
    warning, = check_labelled_data(make_coco(add(*[dict(area=0)] * 8)))
    assert warning.endswith('8 without area (id 20, 21, 22, 23, 24 ...)')


def test_mmdet_clips_a_box_that_is_partly_outside(make_coco):
    pipeline = [dict(type='mmdssl.LoadImage'), dict(type='mmdet.LoadAnnotations', with_bbox=True, with_mask=True),
                dict(type='mmdet.Resize', scale=(40, 30), keep_ratio=True)]
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = make_coco(pipeline=pipeline)
    assert list(check_labelled_data(dataset)) == []
    results = dataset[2]
    assert results['gt_bboxes'].tensor.tolist() == [[30, 20, 40, 30]]
    assert results['gt_masks'].areas[0] <= 100


def test_classes_that_are_not_in_the_json_are_refused(make_coco):
    dataset = make_coco(metainfo=dict(classes=('zebra', )))
    with pytest.raises(InputError, match=r"has none of the dataset's classes, but cat, dog: set metainfo"):
        list(check_labelled_data(dataset))


def test_a_json_without_annotations_is_for_testing_only(make_coco):
    dataset = make_coco(lambda coco: coco.pop('annotations'))
    with pytest.raises(InputError, match='has no annotations to train on'):
        list(check_labelled_data(dataset))
    dataset.test_mode = True
    assert list(check_labelled_data(dataset)) == []


def no_area(coco):
    del coco['annotations'][1]['area']


def short_box(coco):
    coco['annotations'][1]['bbox'] = [1, 2, 3]


@pytest.mark.parametrize('change, message', [
    (no_area, "entry 1 of 'annotations' in .* has no 'area'"),
    (short_box, r"entry 1 of 'annotations' in .* has bbox=\[1, 2, 3\]: give \(a number, "),
    (lambda coco: coco['annotations'][1].update(bbox=['1', '2', '3', '4']), "entry 1 of 'annotations' .* has bbox=.*give"),
    (lambda coco: coco['images'][2].update(file_name=5), "entry 2 of 'images' in .* has file_name=5: give a text"),
    (add(dict(id=10)), 'more than one of its annotations with the id 10'),
    (lambda coco: coco['images'].clear(), "has no 'images'"),
])
def test_a_json_that_is_no_coco_json_is_explained(make_coco, coco_root, change, message):
    cfg = dict(type='RepeatDataset', dataset=dict(data_root=str(coco_root), ann_file='annotations.json'))
    with pytest.raises(InputError, match=message), explain_unusable_data(cfg):
        make_coco(change)


@pytest.mark.parametrize('text, message', [('{"images": [', 'is not valid JSON'), ('[]', "has no 'images'")])
def test_a_broken_json_is_explained(make_coco, coco_root, text, message):
    from mmdet.datasets import CocoDataset
    file = coco_root / 'annotations.json'
    file.write_text(text)
    with pytest.raises(InputError, match=message), explain_unusable_data(dict(ann_file=str(file))):
        CocoDataset(ann_file=str(file), pipeline=[])


def test_a_json_that_is_missing_is_explained(tmp_path):
    from mmdet.evaluation import CocoMetric
    cfg = dict(ann_file=str(tmp_path / 'none.json'))
    with pytest.raises(InputError, match='none.json. cannot be opened'), explain_unusable_data(cfg):
        CocoMetric(**cfg)


def test_no_image_that_can_be_used_is_explained(make_coco, coco_root):
    cfg = dict(data_root=str(coco_root), ann_file='annotations.json')
    with pytest.raises(InputError, match='no image of .*annotations.json can be used'), explain_unusable_data(cfg):
        make_coco(metainfo=dict(classes=('zebra', )), filter_cfg=dict(filter_empty_gt=True))


def test_other_errors_pass(coco_root):
    cfg = dict(data_root=str(coco_root), ann_file='annotations.json')
    with pytest.raises(ZeroDivisionError), explain_unusable_data(cfg):
        1 / 0


def strip(keep=()):
    def change(coco):
        for annotation in coco['annotations']:
            if annotation['id'] not in keep:
                annotation.pop('segmentation', None)
    return change


def test_masks_that_are_not_there_are_counted(make_coco):
    pipeline = [dict(type='mmdet.LoadAnnotations', with_bbox=True, with_mask=True)]
    with pytest.raises(InputError, match=r'2 annotations in .* have no segmentation \(id 11, 12\), which the masks'):
        list(check_labelled_data(make_coco(strip(keep=[10]), pipeline=pipeline)))
    assert list(check_labelled_data(make_coco(strip()))) == []


@pytest.mark.parametrize('scale', [(0, 0), (-5, 3)])
def test_a_transform_that_cannot_take_a_sample_is_named(make_coco, scale):
    pipeline = [dict(type='mmdssl.LoadImage'), dict(type='Resize', scale=scale)]
    with pytest.raises(InputError, match='Resize in the pipeline of .*annotations.json. cannot transform its first sample .*scale='):
        list(check_labelled_data(make_coco(pipeline=pipeline)))


@pytest.fixture
def make_maps(tmp_path):
    """Function that builds mmseg's dataset of three images and their label maps."""
    from mmseg.datasets import BaseSegDataset
    for folder in ('images', 'maps'):
        (tmp_path / folder).mkdir()
    for number in range(3):
        Image.new('RGB', (9, 7)).save(tmp_path / f'images/{number}.jpg')
        Image.fromarray(np.zeros((7, 9), np.uint8)).save(tmp_path / f'maps/{number}.png')
    return lambda **kwargs: BaseSegDataset(**{**dict(
        data_root=str(tmp_path), data_prefix=dict(img_path='images', seg_map_path='maps'), pipeline=[]), **kwargs})


def test_missing_label_maps_are_counted_and_named(make_maps, tmp_path):
    assert list(check_labelled_data(make_maps())) == []
    (tmp_path / 'maps/1.png').unlink()
    with pytest.raises(InputError, match='1 of the 3 label maps of .* do not exist, first .*1.png'):
        list(check_labelled_data(make_maps()))


def test_label_maps_without_an_image_are_counted_and_named(make_maps, tmp_path):
    (tmp_path / 'images/1.jpg').unlink()
    with pytest.raises(InputError, match=r"1 of the 3 label maps in .*maps' have no image '\*.jpg' in .*images', first .*1.png"):
        list(check_labelled_data(make_maps()))
    os.mkfifo(tmp_path / 'images/1.jpg')
    with pytest.raises(InputError, match='1 of the 3 label maps'):
        list(check_labelled_data(make_maps()))
    (tmp_path / 'some.txt').write_text('0\n2\n')
    assert list(check_labelled_data(make_maps(ann_file='some.txt'))) == []


def test_label_maps_without_any_class_are_refused(make_maps, tmp_path):
    pipeline = [dict(type='mmdssl.LoadImage'), dict(type='mmdssl.LoadLabelMap', num_classes=3)]
    list(check_labelled_data(make_maps(pipeline=pipeline)))
    for path in (tmp_path / 'maps').iterdir():
        Image.fromarray(np.full((7, 9), 255, np.uint8)).save(path)
    with pytest.raises(InputError, match='none of the 3 label maps of .* has a pixel with another index than 255'):
        list(check_labelled_data(make_maps(pipeline=pipeline)))


@pytest.mark.parametrize('changes, message', [
    (dict(img_suffix='.tif'), 'no image of .* can be used: check img_suffix'),
    (dict(data_prefix=dict(img_path='none')), 'the data cannot be read .*none'),
    (dict(ann_file='none.txt'), 'the data cannot be read .*none.txt'),
])
def test_a_segmentation_dataset_that_cannot_be_built_is_explained(make_maps, changes, message):
    with pytest.raises(InputError, match=message), explain_unusable_data(changes):
        make_maps(**changes)


@pytest.mark.parametrize('segmentation', [
    [[-5000, -3, 1e9, 2, 3, 1e9]], [[1, 2, 3]], [[1, 2, 3, 4, 5, float('nan')]], 'abc', [1, 2, 3, 4, 5, 6],
    dict(counts=[1, 2], size=[10, 10]), dict(counts=[1, 2], size=[30, 40]), dict(counts=7, size=[30, 40])])
def test_segmentations_that_are_none_are_refused(make_coco, segmentation):
    dataset = make_coco(lambda coco: coco['annotations'][1].update(segmentation=segmentation))
    with pytest.raises(InputError, match='the segmentation of annotation 11 in .* is neither a list of polygons'):
        list(check_labelled_data(dataset))


def test_an_annotation_without_a_number_lowers_the_scores(make_coco):
    warnings = list(check_labelled_data(make_coco(lambda coco: coco['annotations'][0].update(id=0), test_mode=True)))
    assert len(warnings) == 1 and 'with the id 0' in warnings[0]
