# MoCo v3: the class token of the last block.
_base_ = './linear_dino.py'
model = dict(extractor=dict(blocks=1), rates=[3.0])
val_dataloader = dict(dataset=dict(interpolation='bilinear'))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=90)
default_hooks = dict(record=dict(framework='linear-mocov3'))
