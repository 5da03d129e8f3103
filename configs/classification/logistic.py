# Logistic regression by L-BFGS, its penalty chosen on a fifth of the bank, as BYOL, SimCLR and BAM transfer.
_base_ = './knn.py'
test_evaluator = dict(_delete_=True, type='LogisticMetric')
default_hooks = dict(record=dict(task='transfer-linear', framework='logistic'))
