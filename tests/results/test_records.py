from __future__ import annotations

import importlib.metadata

from mmdssl.results.records import append_record, fingerprint_file, fingerprint_text, read_records, standard_metrics


def test_records_come_back_in_order_with_what_made_them(tmp_path):
    path = tmp_path / 'results.jsonl'
    append_record(path, task='knn', metrics=dict(knn20_top1=12.5))
    append_record(path, task='knn', metrics=dict(knn20_top1=25.0), epoch=3)
    first, second = read_records(path)
    assert (first['metrics'], second['metrics']) == (dict(knn20_top1=12.5), dict(knn20_top1=25.0))
    assert second['epoch'] == 3
    assert first['versions']['torch'] == importlib.metadata.version('torch')
    assert {'mmdssl', 'timm', 'mmengine'} <= set(first['versions'])


def test_fingerprints_tell_texts_apart():
    assert fingerprint_text(['a', 'b']) == fingerprint_text(iter(['a', 'b'])) != fingerprint_text(['ab'])


def test_metrics_get_the_names_and_the_unit_of_the_published_rows(tmp_path):
    assert standard_metrics({'coco/bbox_mAP': 0.431, 'coco/bbox_mAP_50': 0.66, 'coco/segm_mAP_75': 0.416, 'coco/segm_mAP_s': 0.1}) == {
        'box_AP': 43.1, 'box_AP50': 66.0, 'mask_AP75': 41.6, 'mask_APS': 10.0}
    assert standard_metrics({'mIoU': 41.2, 'knn20_top1': 26.8}) == {'mIoU': 41.2, 'knn20_top1': 26.8}
    assert standard_metrics({'J&F': 63.8, 'J_mean': 61.7, 'context4/F_mean': 65.5}) == {'J&F': 63.8, 'J': 61.7, 'context4/F': 65.5}
    (tmp_path / 'a').write_bytes(b'weights')
    (tmp_path / 'b').write_bytes(b'weights')
    assert fingerprint_file(tmp_path / 'a') == fingerprint_file(tmp_path / 'b')
