# A backbone from anywhere, of which nothing is trained.
_base_ = './default_runtime.py'
model = dict(type='FrozenBackbone', backbone=dict(type='mmdssl.VisionTransformer', arch='small', patch_size=16))
default_hooks = dict(param_scheduler=None, checkpoint=None, record=dict(type='RecordHook', dataset='imagenet-1k'))
custom_hooks = []
