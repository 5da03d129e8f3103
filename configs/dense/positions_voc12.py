# How much of its position a patch tells of itself, and a checkpoint that does not tell it (RASA, Franca):
# work_dirs/positions_voc12/position-free.safetensors, which configs that read
# patches take as any other; for those that read keys test_evaluator.extractor.facet=key.
_base_ = ['../_base_/datasets/voc12_dense.py', '../_base_/protocols_runtime.py']
test_evaluator = dict(type='PositionMetric', rounds=9)
default_hooks = dict(record=dict(task='positions', dataset='voc12'))
custom_hooks = [dict(type='PositionFreeHook')]
