from __future__ import annotations

import pytest

from mmdssl.results.published import MARKS, SOURCES, published_rows, same_backbone


def test_every_row_has_what_tables_need():
    rows = published_rows()
    assert len(rows) > 400 and len({row['id'] for row in rows}) == len(rows)
    for row in rows:
        assert {'task', 'method', 'location'} <= row.keys() and row['source'] in SOURCES
        assert row['metrics'] and all(isinstance(value, (int, float)) for value in row['metrics'].values())
        assert row.get('mark', 'read') in MARKS and isinstance(row.get('version', ''), str)
        assert 'version' in row or not row['source'].endswith('-readme')  # READMEs change their numbers


def test_filter_keeps_one_head_schedule_and_backbone():
    rows = published_rows('detection', 'coco', 'mask-rcnn-1x', 'vit-s/16')
    assert {row['method'] for row in rows} == {'ADCLR', 'MoCo-v3', 'MoBY', 'DINO', 'SelfPatch', 'iBOT', 'PQCL'}
    assert next(row for row in rows if row['method'] == 'PQCL')['metrics']['box_AP'] == 43.1
    everything = published_rows()
    assert [row['id'] for row in rows] == [
        row['id'] for row in everything
        if tuple(map(row.get, ('task', 'dataset', 'framework', 'backbone'))) ==
        ('detection', 'coco', 'mask-rcnn-1x', 'vit-s/16')]
    assert published_rows('detection', 'coco', 'mask-rcnn-c4-1x') == []


def test_a_framework_counts_where_rows_of_the_task_name_theirs():
    assert published_rows('linear', 'imagenet-1k', 'linear-dino', 'vit-s/16') == published_rows('linear', 'imagenet-1k', None, 'vit-s/16')
    assert len(published_rows('detection', 'coco', 'mask-rcnn-1x')) < len(published_rows('detection', 'coco'))


def test_no_argument_filters_nothing():
    assert len(published_rows(task='detection')) > len(published_rows(task='detection', dataset='coco')) > 0


@pytest.mark.parametrize('wanted, printed, same', [
    ('vit-s/16', 'vit-s/16', True), ('vit-s/16', 'vit-s', True), ('vit-s', 'vit-s/16', True),
    ('vit-s/16', 'vit-s/8', False), ('vit-s/16', 'vit-b', False), ('resnet50', 'resnet50', True),
    ('resnet50', 'resnet50w2', False), ('vit-s/16', None, False), (None, 'vit-s', True), (None, None, True)])
def test_a_patch_size_counts_where_it_is_printed(wanted, printed, same):
    assert same_backbone(wanted, printed) == same


def test_rows_can_be_changed_without_harm():
    published_rows()[0]['method'] = 'changed'
    assert published_rows()[0]['method'] != 'changed'


def test_a_readme_that_changed_its_numbers_has_a_row_of_each_version():
    rows = [row for row in published_rows('linear-leopart', 'voc12', backbone='vit-s/14') if row['method'] == 'NeCo on DINOv2']
    assert {row['version']: row['metrics']['mIoU_leopart'] for row in rows} == {'393216026b4d': 81.4, '01d052880eb4': 78.9}


def test_rows_of_frozen_protocols_are_found_by_the_names_in_our_records():
    assert [row['metrics'] for row in published_rows('hummingbird', 'voc12', 'memory-102k', 'vit-s/16')] == [dict(mIoU_hbird=37.2)]
    assert {row['method'] for row in published_rows('discovery-lost', 'voc07', None, 'vit-s/16')} == {'DINO'}
    assert published_rows('linear-dinov3', 'ade20k', None, 'vit-s/16')[0]['metrics'] == dict(mIoU=47.0)
