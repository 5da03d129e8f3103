# Linear classifiers of features without augmentation, computed once, at several learning rates.
_base_ = './knn.py'
test_evaluator = dict(_delete_=True, type='LinearMetric')
default_hooks = dict(record=dict(task='linear', framework='linear-features'))
