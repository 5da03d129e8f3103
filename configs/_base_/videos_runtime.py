# A frozen backbone is looked at, video by video: tools/test.py CONFIG CHECKPOINT --data ROOT
_base_ = './default_runtime.py'
test_dataloader = dict(
    batch_size=1,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    collate_fn=dict(type='mmdssl.list_samples'))
test_cfg = dict(type='TestLoop')
default_hooks = dict(param_scheduler=None, checkpoint=None, record=dict(type='RecordHook'))
custom_hooks = []
