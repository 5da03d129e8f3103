_base_ = '../videos_runtime.py'
test_dataloader = dict(dataset=dict(type='VideoObjects', data_root='data/youtube-vos/valid', short_side=480))
test_evaluator = dict(type='VideoSubmission', out_dir='work_dirs/youtube-vos', inside='Annotations')
default_hooks = dict(record=dict(task='video-masks', dataset='youtube-vos'))
