_base_ = './linear_ibot.py'
model = dict(backbone=dict(arch='base'), extractor=dict(blocks=1, read='class+mean'))
