# Parameters, operations, images per second and, on a GPU, memory at 224 px; of the data only its folders are looked at.
_base_ = './knn.py'
test_evaluator = dict(_delete_=True, type='CostMetric')
default_hooks = dict(record=dict(task='cost'))
