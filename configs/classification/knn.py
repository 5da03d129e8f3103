# Weighted k-NN as DINO evaluates; its papers report k = 20, PQCL's k = 10.
_base_ = ['../_base_/datasets/imagenet_protocols.py', '../_base_/protocols_runtime.py']
test_evaluator = dict(type='KNNMetric', k=(10, 20, 100, 200))
default_hooks = dict(record=dict(task='knn'))
