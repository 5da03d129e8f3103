# Overclustering of the 15 super-classes of the stuff of COCO (Leopart, NeCo): images of 448 px, measured at 100 x 100. There is no bank.
_base_ = ['../_base_/datasets/cocostuff_dense.py', '../_base_/protocols_runtime.py']
test_dataloader = dict(dataset=dict(size=448))
test_cfg = dict(bank={{_base_.test_dataloader}})
test_evaluator = dict(
    type='OverclusteringMetric', clusters=(500, 300, 'classes'), seeds=(0, 1, 2, 3, 4), components=50, size=100, iterations=100, restarts=5)
default_hooks = dict(record=dict(task='overclustering', dataset='coco-stuff'))
