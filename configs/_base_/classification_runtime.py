_base_ = './default_runtime.py'
custom_hooks = [
    dict(type='AlgorithmHook'),
    dict(type='SkippedImagesHook', max_share=0.01),
    dict(type='ProgressHook'),
]
default_hooks = dict(
    checkpoint=dict(max_keep_ckpts=1, save_best=None),
    record=dict(type='RecordHook'))
val_cfg = dict(type='ClassificationLoop')
val_evaluator = dict(type='AccuracyMetric')
test_cfg = dict(type='ClassificationLoop')
test_evaluator = val_evaluator
sync_bn = 'torch'
