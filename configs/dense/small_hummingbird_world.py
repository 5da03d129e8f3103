# The sample world at 192 px for small networks, as they are: no augmentation, a memory for seconds.
_base_ = ['../_base_/datasets/small_ade20k_dense.py', '../_base_/protocols_runtime.py']
test_evaluator = dict(type='HummingbirdMetric', memory_size=20480, k=30, temperature=0.02, void='first')
default_hooks = dict(record=dict(task='hummingbird', dataset='sample-world'))
