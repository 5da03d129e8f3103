# DINO, ViT-B: the class token and the mean of the patches of the last block.
_base_ = './linear_dino.py'
model = dict(backbone=dict(arch='base'), extractor=dict(blocks=1, read='class+mean'))
