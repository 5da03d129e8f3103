# Linear segmentation of VOC 2012 in closed form, least squares and linear discriminants, which follows the trained ones in seconds.
_base_ = ['../_base_/datasets/voc12_dense.py', '../_base_/protocols_runtime.py']
test_evaluator = dict(type='ClosedFormMetric', models=('ridge', 'lda'), val=0.2)
default_hooks = dict(record=dict(task='ridge', dataset='voc12'))
