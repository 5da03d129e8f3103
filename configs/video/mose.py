# MOSE, whose server alone can score the masks: data/mose/valid/{JPEGImages,Annotations}
_base_ = './youtube-vos.py'
test_dataloader = dict(dataset=dict(data_root='data/mose/valid'))
test_evaluator = dict(out_dir='work_dirs/mose', inside='')
default_hooks = dict(record=dict(dataset='mose'))
