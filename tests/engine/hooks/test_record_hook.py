from __future__ import annotations

from types import SimpleNamespace

from torch import nn

from mmdssl.engine.hooks.record_hook import RecordHook, _details, describe_backbone
from mmdssl.protocols import HummingbirdMetric, KNNMetric


def test_a_record_says_what_the_backbone_was_pretrained_with(tmp_path):
    file = tmp_path / 'backbone.safetensors'
    file.write_bytes(b'weights')
    cfg = dict(type='mmdssl.VisionTransformer', init_cfg=dict(type='SSLPretrained', checkpoint=str(file)))
    found = describe_backbone(cfg)
    assert found['pretrained']['path'] == str(file) and len(found['pretrained']['sha256']) == 16
    assert 'pretrained' not in describe_backbone(dict(cfg, init_cfg=None))
    assert describe_backbone(dict(cfg, init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50')))['pretrained'] == dict(
        path='torchvision://resnet50')


def test_a_record_names_the_settings_of_what_has_measured():
    hook, metric = RecordHook(task='hummingbird', framework='of the config', setting=dict(more=1)), HummingbirdMetric(memory_size=102400)
    loop = SimpleNamespace(dataloader=SimpleNamespace(dataset=SimpleNamespace(setting=dict(image=64))), protocols=[metric])
    assert hook._labels(loop, nn.Identity()) == dict(
        task='hummingbird', framework='memory-102k', setting=dict(more=1, image=64, neighbours=30, void='first'))
    loop.protocols = [KNNMetric(), metric]  # beside k-NN, whose record it is
    assert hook._labels(loop, nn.Identity())['framework'] == 'of the config'


def test_a_record_names_its_data_by_their_folder_where_the_config_does_not(tmp_path):
    loop = SimpleNamespace(dataloader=SimpleNamespace(dataset=SimpleNamespace(data_root=str(tmp_path / 'fruits/val'))), protocols=[])
    assert RecordHook()._labels(loop, nn.Identity()) == dict(task='knn', dataset_name='fruits')
    assert RecordHook(dataset='imagenet-1k')._labels(loop, nn.Identity())['dataset_name'] == 'imagenet-1k'
    loop.dataloader.dataset.data_root = ''
    assert RecordHook()._labels(loop, nn.Identity()) == dict(task='knn')


def test_a_record_has_what_a_metric_tells_beyond_its_values():
    metric = SimpleNamespace(details=dict(per_class=dict(cat=50.), baseline={'first mask copied': {'J&F': 40., 'J_mean': 41.}}))
    loop = SimpleNamespace(evaluator=SimpleNamespace(metrics=[metric, SimpleNamespace()]))
    assert _details(loop) == dict(details=dict(per_class=dict(cat=50.), baseline={'first mask copied': {'J&F': 40., 'J': 41.}}))
    assert _details(SimpleNamespace(evaluator=SimpleNamespace(metrics=[SimpleNamespace()]))) == {}
