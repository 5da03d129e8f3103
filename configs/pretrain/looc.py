# LooC with colour, rotation and texture, ResNet-50: 500 epochs on 100 classes of ImageNet, data/imagenet100/{train,val}/<class>/*, 5x224,
# global batch 256 (8 GPUs of 32 images). The backbone behind all heads is what serves other tasks. Source: the paper; there is no code of
# the authors', and the loss is as we read it.
_base_ = [
    '../_base_/models/looc.py', '../_base_/datasets/imagenet_mocov2.py', '../_base_/schedules/sgd_cosine.py',
    '../_base_/default_runtime.py'
]
train_dataloader = dict(dataset=dict(
    data_root='data/imagenet100/train',
    views=dict(global_=dict(
        _delete_=True, type='LeaveOneOutViews', size=224, scale=(0.2, 1.0), interpolation='bilinear',
        families=dict(
            color=dict(jitter=(0.4, 0.4, 0.4, 0.1), blur_prob=0.0),
            rotation=dict(type='RightAngle'),
            texture=dict(jitter_prob=0.0, gray_prob=0.0, blur_prob=0.5),
        )))))
val_dataloader = dict(dataset=dict(data_root='data/imagenet100/val'))
val_cfg = dict(bank=dict(dataset=dict(data_root='data/imagenet100/train')))
train_cfg = dict(max_epochs=500)
