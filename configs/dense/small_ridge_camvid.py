# CamVid at 192 px for small networks, as they are.
_base_ = ['../_base_/datasets/camvid_dense.py', '../_base_/protocols_runtime.py']
test_evaluator = dict(type='ClosedFormMetric', models=('ridge', 'lda'), val=0.2)
default_hooks = dict(record=dict(task='ridge', dataset='camvid'))
