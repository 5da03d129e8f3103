# COCO-Stuff, 15 super-classes of stuff, as hummingbird_voc12.py.
_base_ = ['../_base_/datasets/cocostuff_dense.py', '../_base_/protocols_runtime.py']
test_cfg = dict(bank=dict(dataset=dict(augment=True, epochs=2)))
test_evaluator = dict(type='HummingbirdMetric', memory_size=10240000, k=30, temperature=0.02, void='first', precision='bf16')
default_hooks = dict(record=dict(task='hummingbird', dataset='coco-stuff'))
