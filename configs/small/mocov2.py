_base_ = [
    '../_base_/models/mocov2.py', '../_base_/datasets/small_images.py', '../_base_/schedules/small.py',
    '../_base_/default_runtime.py'
]
model = dict(
    backbone=dict(name='resnet18', stem_stride=2, model_args=dict(layers=(1, 1, 1, 1), channels=(32, 64, 96, 128))),
    projector=dict(hidden_dim=512),
    queue_size=4096,
    momentum=0.99)
