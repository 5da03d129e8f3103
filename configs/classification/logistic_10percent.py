# With 10 % of the labels: as many images of every class, always the same ones.
_base_ = './logistic.py'
test_cfg = dict(bank=dict(dataset=dict(fraction=0.1)))
default_hooks = dict(record=dict(task='semi-supervised', framework='logistic-10percent'))
