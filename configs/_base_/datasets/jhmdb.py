# JHMDB, the test clips of split 1: data/jhmdb/{Rename_Images,joint_positions,splits}
_base_ = '../videos_runtime.py'
test_dataloader = dict(dataset=dict(type='JHMDB', data_root='data/jhmdb', split=1, size=(320, 320)))
test_evaluator = dict(type='PCKMetric')
default_hooks = dict(record=dict(task='pose-propagation', dataset='jhmdb'))
