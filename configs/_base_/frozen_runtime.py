# A frozen backbone is looked at, image by image: tools/test.py CONFIG CHECKPOINT --data ROOT
_base_ = './default_runtime.py'
model = dict(backbone=dict(type='mmdssl.VisionTransformer', arch='small', patch_size=16))
test_dataloader = dict(
    batch_size=8,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    collate_fn=dict(type='mmdssl.list_samples'))
test_cfg = dict(type='TestLoop')
default_hooks = dict(param_scheduler=None, checkpoint=None, record=dict(type='RecordHook'))
custom_hooks = []
