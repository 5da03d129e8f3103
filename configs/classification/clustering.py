# k-means of the queries against their classes: NMI and ARI (BAM, App. I), and accuracy by the best assignment (iBOT).
_base_ = './knn.py'
test_evaluator = dict(_delete_=True, type='ClusteringMetric')
default_hooks = dict(record=dict(task='clustering'))
