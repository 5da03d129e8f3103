# CamVid at 192 px for small networks, as they are.
_base_ = ['../_base_/datasets/camvid_dense.py', '../_base_/protocols_runtime.py']
test_evaluator = dict(type='PositionMetric', rounds=9)
default_hooks = dict(record=dict(task='positions', dataset='camvid'))
custom_hooks = [dict(type='PositionFreeHook')]
