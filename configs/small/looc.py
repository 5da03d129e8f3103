_base_ = [
    '../_base_/models/looc.py', '../_base_/datasets/small_images.py', '../_base_/schedules/small.py',
    '../_base_/default_runtime.py'
]
model = dict(
    backbone=dict(name='resnet18', stem_stride=2, model_args=dict(layers=(1, 1, 1, 1), channels=(32, 64, 96, 128))),
    projector=dict(hidden_dim=512),
    queue_size=4096,
    momentum=0.99)
train_dataloader = dict(dataset=dict(views=dict(global_=dict(
    _delete_=True, type='LeaveOneOutViews', size=32, scale=(0.25, 1.0),
    families=dict(
        color=dict(blur_prob=0.0),
        rotation=dict(type='RightAngle'),
        texture=dict(jitter_prob=0.0, gray_prob=0.0, blur_prob=0.5, blur_radius=(0.1, 1.0)),
    )))))
