default_scope = 'mmdssl'
custom_imports = dict(imports=['mmdssl'])
runner_type = 'Runner'

default_hooks = dict(
    runtime_info=dict(type='RuntimeInfoHook'),
    timer=dict(type='IterTimerHook'),
    sampler_seed=None,  # our sampler seeds itself
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=3, save_best='knn20_top1', rule='greater'))
custom_hooks = [
    dict(type='AlgorithmHook'),
    dict(type='CollapseHook', interval=50),
    dict(type='SkippedImagesHook', max_share=0.01),
    dict(type='ExportBackboneHook'),
    dict(type='RecordHook'),
    dict(type='ProgressHook'),
    dict(type='ReportHook'),
]
log_processor = dict(type='LogProcessor', window_size=50)
# For Weights & Biases: vis_backends=[dict(type='WandbVisBackend', init_kwargs=dict(project='mmdssl'))]
visualizer = dict(type='Visualizer', vis_backends=[dict(type='ScalarsVisBackend'), dict(type='TensorboardVisBackend')])
randomness = dict(seed=0)
