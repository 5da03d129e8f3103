_base_ = 'mmdet::_base_/default_runtime.py'
custom_imports = dict(imports=['mmdssl'])
runner_type = 'mmdssl.Runner'
default_hooks = dict(
    runtime_info=dict(type='mmdssl.RuntimeInfoHook'),
    checkpoint=dict(type='mmdssl.CheckpointHook', max_keep_ckpts=1),
    record=dict(type='mmdssl.RecordHook'))
custom_hooks = [
    dict(type='mmdssl.DataCheckHook'),
    dict(type='mmdssl.SkippedImagesHook', max_share=0.01),
    dict(type='mmdssl.ProgressHook'),
    dict(type='mmdssl.ReportHook'),
]
log_processor = dict(type='mmdssl.LogProcessor')
visualizer = dict(
    _delete_=True, type='Visualizer', vis_backends=[dict(type='mmdssl.ScalarsVisBackend'), dict(type='TensorboardVisBackend')])
randomness = dict(seed=0)
sync_bn = 'torch'
