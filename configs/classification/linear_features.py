# Linear classifiers of features without augmentation, which are computed once: minutes instead of hours.
_base_ = ['../_base_/datasets/imagenet_protocols.py', '../_base_/protocols_runtime.py']
test_evaluator = dict(type='LinearMetric')
default_hooks = dict(record=dict(task='linear', framework='linear-features'))
