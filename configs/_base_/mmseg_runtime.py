_base_ = 'mmseg::_base_/default_runtime.py'
custom_imports = dict(imports=['mmdssl'])
runner_type = 'mmdssl.Runner'
default_hooks = dict(
    runtime_info=dict(type='mmdssl.RuntimeInfoHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    checkpoint=dict(type='mmdssl.CheckpointHook', by_epoch=False, interval=4000, max_keep_ckpts=1),
    record=dict(type='mmdssl.RecordHook'))
custom_hooks = [
    dict(type='mmdssl.DataCheckHook'),
    dict(type='mmdssl.SkippedImagesHook', max_share=0.01),
    dict(type='mmdssl.ProgressHook'),
    dict(type='mmdssl.ReportHook'),
]
log_processor = dict(type='mmdssl.LogProcessor', by_epoch=False)
visualizer = dict(
    _delete_=True, type='Visualizer', vis_backends=[dict(type='mmdssl.ScalarsVisBackend'), dict(type='TensorboardVisBackend')])
randomness = dict(seed=0)
sync_bn = 'torch'
