# CamVid at 192 px for small networks, as they are: no augmentation, all patches.
_base_ = ['../_base_/datasets/camvid_dense.py', '../_base_/protocols_runtime.py']
test_evaluator = dict(type='HummingbirdMetric', k=30, temperature=0.02, void='first')
default_hooks = dict(record=dict(task='hummingbird', dataset='camvid'))
