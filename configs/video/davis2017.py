# DAVIS-2017 mask propagation: data/davis/{JPEGImages/480p,Annotations/480p,ImageSets/2017/val.txt}. The baseline that
# copies the first mask: model.copy_first=True.
_base_ = '../_base_/default_runtime.py'
model = dict(
    type='MaskPropagation',
    backbone=dict(type='mmdssl.VisionTransformer', arch='small', patch_size=16),
    context_frames=7,
    radius=12,
    top_k=5,
    temperature=0.1)

test_dataloader = dict(
    batch_size=1,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    collate_fn=dict(type='mmdssl.list_samples'),
    dataset=dict(type='DAVIS', data_root='data/davis', split='val', short_side=480))
test_cfg = dict(type='TestLoop')
test_evaluator = dict(type='DAVISMetric')

default_hooks = dict(
    param_scheduler=None, checkpoint=None, record=dict(type='RecordHook', task='video-segmentation', dataset='davis-2017'))
custom_hooks = []
