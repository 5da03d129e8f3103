# CRW's public code has the mean of 3 cells, where others have 5, and a stride of 8; with patches of 16 pixels the grid is 20 x 20. What it
# publishes are the numbers for DAVIS.
_base_ = ['../_base_/datasets/jhmdb.py', '../_base_/propagation_crw.py']
model = dict(type='PosePropagation', cells=3)
default_hooks = dict(record=dict(framework='crw'))
