# CamVid at 192 px for small networks, as they are, with fewer clusters.
_base_ = ['../_base_/datasets/camvid_dense.py', '../_base_/protocols_runtime.py']
test_evaluator = dict(type='OverclusteringMetric', clusters=(100, 50, 'classes'))
default_hooks = dict(record=dict(task='overclustering', dataset='camvid'))
