_base_ = './ibot.py'
model = dict(
    type='PQCL',
    backbone=dict(position='sincos'),
    query_weight=1.0,
    query_center='own',
    anchor='corner',
    teacher_position='stretched')
