"""Scores of classes against scikit-learn's and pycocotools' on each class alone."""
from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score

from mmdssl.registry import METRICS


def test_iou_of_each_class_is_scikit_learns():
    metric = METRICS.build(dict(type='mmdssl.IoUMetric', ignore_index=3))
    metric.dataset_meta = dict(classes=('cat', 'dog', 'cow'))
    rng = np.random.default_rng(0)
    truth, predicted = rng.choice([0, 1, 3], (4, 20, 30)), rng.choice([0, 1], (4, 20, 30))
    for each in zip(predicted, truth):
        ids, labels = (torch.from_numpy(array)[None] for array in each)
        metric.process({}, [dict(pred_sem_seg=dict(data=ids), gt_sem_seg=dict(data=labels))])
    mean = metric.evaluate(4)['mIoU']
    known = truth != 3
    expected = 100 * jaccard_score(truth[known], predicted[known], average=None)
    assert metric.details['per_class'] == dict(cat=pytest.approx(expected[0]), dog=pytest.approx(expected[1]), cow=None)
    assert mean == pytest.approx(expected.mean(), abs=0.005)


def test_ap_of_each_category_is_that_of_the_category_alone(tmp_path):
    """A box found exactly, one found a little off (IoU 0.7: five of the ten thresholds), a category without objects."""
    pytest.importorskip('mmdet')
    metric = METRICS.build(dict(type='mmdssl.CocoMetric', metric=['bbox', 'segm'], outfile_prefix=str(tmp_path / 'found')))
    metric.dataset_meta = dict(classes=('ball', 'box', 'cone'))
    mask = np.zeros((2, 100, 100), np.uint8)
    mask[0, 10:40, 10:40], mask[1, 60:90, 50:90] = 1, 1
    from pycocotools.mask import encode
    rles = [encode(np.asfortranarray(each)) for each in mask]
    boxes = np.array([[10, 10, 40, 40], [50, 60, 78, 90.]])  # the second one is 28 wide, its object 40
    instances = [dict(bbox=[10, 10, 40, 40], bbox_label=0, mask=rles[0]), dict(bbox=[50, 60, 90, 90], bbox_label=1, mask=rles[1])]
    for instance in instances:
        instance['mask'] = dict(instance['mask'], counts=instance['mask']['counts'].decode())
    metric.process({}, [dict(
        img_id=1, ori_shape=(100, 100), instances=instances,
        pred_instances=dict(bboxes=torch.tensor(boxes), scores=torch.tensor([.9, .8]), labels=torch.tensor([0, 1]), masks=rles))])
    metrics = metric.evaluate(1)
    assert metric.details['per_category'] == dict(box_AP=dict(ball=100., box=50., cone=None), mask_AP=dict(ball=100., box=100., cone=None))
    assert metrics['coco/bbox_mAP'] == 0.75 and metrics['coco/segm_mAP'] == 1 and not [name for name in metrics if 'precision' in name]


def test_objects_without_iscrowd_are_none(tmp_path):
    """As many tools write them, and pycocotools does not read them."""
    pytest.importorskip('mmdet')
    box = [10, 10, 30, 30]
    coco = dict(images=[dict(id=1, file_name='a.jpg', width=100, height=100)], categories=[dict(id=4, name='ball')],
                annotations=[dict(id=1, image_id=1, category_id=4, bbox=box, area=900)])
    (tmp_path / 'own.json').write_text(json.dumps(coco))
    metric = METRICS.build(dict(type='mmdssl.CocoMetric', metric='bbox', ann_file=str(tmp_path / 'own.json')))
    metric.dataset_meta = dict(classes=('ball', ))
    metric.process({}, [dict(img_id=1, ori_shape=(100, 100), pred_instances=dict(
        bboxes=torch.tensor([[10., 10, 40, 40]]), scores=torch.tensor([.9]), labels=torch.tensor([0])))])
    assert metric.evaluate(1)['coco/bbox_mAP'] == 1
