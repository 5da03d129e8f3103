# k-means of the queries against their classes: NMI and ARI (DINO's and SwAV's tables, iBOT's App. I).
_base_ = './knn.py'
test_evaluator = dict(_delete_=True, type='ClusteringMetric')
default_hooks = dict(record=dict(task='clustering'))
