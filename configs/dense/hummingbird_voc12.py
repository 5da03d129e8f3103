# In-context segmentation by the nearest of 10,240,000 patches (open-hummingbird-eval: images of 512 px, each twice in the memory).
# Smaller memories: test_evaluator.memory_size=102400 or 1024000. Few-shot: test_cfg.bank.dataset.names=LIST of the published file sets, or,
# drawn otherwise, test_cfg.bank.dataset.number=1323, 165 or 83 with number_seed=42, 400, 783, 1293 and 4019.
_base_ = ['../_base_/datasets/voc12_dense.py', '../_base_/protocols_runtime.py']
test_cfg = dict(bank=dict(dataset=dict(augment=True, epochs=2)))
test_evaluator = dict(type='HummingbirdMetric', memory_size=10240000, k=30, temperature=0.02, void='first', precision='bf16')
default_hooks = dict(record=dict(task='hummingbird', dataset='voc12'))
