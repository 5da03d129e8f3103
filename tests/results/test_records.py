from __future__ import annotations

import importlib.metadata

import pytest

from mmdssl.results import records
from mmdssl.results.records import append_record, fingerprint_file, fingerprint_text, is_recorded, read_records, standard_metrics


def test_records_come_back_in_order_with_what_made_them(tmp_path):
    path = tmp_path / 'results.jsonl'
    append_record(path, task='knn', metrics=dict(knn20_top1=12.5))
    append_record(path, task='knn', metrics=dict(knn20_top1=25.0), epoch=3)
    first, second = read_records(path)
    assert (first['metrics'], second['metrics']) == (dict(knn20_top1=12.5), dict(knn20_top1=25.0))
    assert second['epoch'] == 3
    assert first['versions']['torch'] == importlib.metadata.version('torch')
    assert {'mmdssl', 'timm', 'mmengine'} <= set(first['versions'])


def test_versions_of_the_distribution_without_compiled_operators(monkeypatch):
    installed = {'mmcv-lite': '2.1.0', 'mmengine': '0.10.7'}

    def version(name):
        if name not in installed:
            raise importlib.metadata.PackageNotFoundError(name)
        return installed[name]
    monkeypatch.setattr(records, 'version', version)
    found = records.versions()
    assert found.pop('mmdssl') and found == dict(mmengine='0.10.7', mmcv='2.1.0')


def test_a_record_cut_short_costs_its_line_only(tmp_path):
    path = tmp_path / 'results.jsonl'
    for i in range(2):
        append_record(path, task='knn', metrics=dict(knn20_top1=float(i)))
    path.write_bytes(path.read_bytes()[:-30])
    append_record(path, task='knn', metrics=dict(knn20_top1=2.))
    with pytest.warns(UserWarning, match=rf'{path}, line 2: this is no whole record'):
        assert [record['metrics']['knn20_top1'] for record in read_records(path)] == [0., 2.]
    for rubbish in (b'7\n', b'\xff\x00\n', b'[' * 10**6 + b'\n'):
        path.write_bytes(rubbish)
        with pytest.warns(UserWarning, match='line 1'):
            assert read_records(path) == []


def test_an_evaluation_is_known_by_what_was_evaluated(tmp_path):
    path = tmp_path / 'results.jsonl'
    fields = dict(task='knn', epoch=3, checkpoint='abc', config='def', dataset='ghi', metrics=dict(knn20_top1=50.))
    assert not is_recorded(path, fields)
    append_record(path, **fields)
    assert is_recorded(path, fields) and is_recorded(path, {**fields, 'metrics': dict(knn20_top1=50.1)})
    assert is_recorded(path, {**fields, 'config': 'of the run that was resumed'})
    for key, value in dict(epoch=4, checkpoint='x', dataset='x', metrics=dict(knn5_top1=50.)).items():
        assert not is_recorded(path, {**fields, key: value})


def test_fingerprints_tell_texts_apart():
    assert fingerprint_text(['a', 'b']) == fingerprint_text(iter(['a', 'b'])) != fingerprint_text(['ab'])


def test_metrics_get_the_names_and_the_unit_of_the_published_rows(tmp_path):
    assert standard_metrics({'coco/bbox_mAP': 0.431, 'coco/bbox_mAP_50': 0.66, 'coco/segm_mAP_75': 0.416, 'coco/segm_mAP_s': 0.1}) == {
        'box_AP': 43.1, 'box_AP50': 66.0, 'mask_AP75': 41.6, 'mask_APS': 10.0}
    assert standard_metrics({'coco/bbox_mAP_l': -1., 'coco/segm_mAP': 0.1, 'mIoU': -1.}) == {'mask_AP': 10.0, 'mIoU': -1.}
    assert standard_metrics({'mIoU': 41.2, 'knn20_top1': 26.8}) == {'mIoU': 41.2, 'knn20_top1': 26.8}
    assert standard_metrics({'J&F': 63.8, 'J_mean': 61.7, 'context4/F_mean': 65.5}) == {'J&F': 63.8, 'J': 61.7, 'context4/F': 65.5}
    (tmp_path / 'a').write_bytes(b'weights')
    (tmp_path / 'b').write_bytes(b'weights')
    assert fingerprint_file(tmp_path / 'a') == fingerprint_file(tmp_path / 'b')
