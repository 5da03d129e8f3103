# SwAV, ResNet-50: 800 epochs with LARC, 2x224 + 6x96, global batch 4096 (64 GPUs of 64 images). `lr` is per 4096 images. With batches of
# 256 images: optim_wrapper.optimizer.lr=9.6 (which is 0.6 then), model.queue_size=3840, model.freeze_prototypes=5005, and no warm-up.
# Source: the authors' code (facebookresearch/swav), whose loss this is to rounding, and the arguments of their run of 800 epochs.
_base_ = [
    '../_base_/models/swav.py', '../_base_/datasets/imagenet.py', '../_base_/schedules/lars_cosine.py',
    '../_base_/default_runtime.py'
]
model = dict(data_preprocessor=dict(type='mmdssl.ViewsPreprocessor', std=(58.14, 57.12, 57.375)))  # the authors' .228 for red
train_dataloader = dict(dataset=dict(views=dict(
    global_=dict(
        num=2, scale=(0.14, 1.0), interpolation='bilinear',
        photometric=dict(_delete_=True, jitter=(0.8, 0.8, 0.8, 0.2), blur_prob=0.5)),
    local=dict(
        num=6, scale=(0.05, 0.14), interpolation='bilinear', photometric=dict(jitter=(0.8, 0.8, 0.8, 0.2), blur_prob=0.5)),
)))
optim_wrapper = dict(optimizer=dict(type='LARC', lr=4.8), paramwise_cfg=dict(decay_biases=True, decay_norms=True))
auto_scale_lr = dict(base_batch_size=4096)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.0625, begin=0, end=10, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-3, begin=10, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=800)
sync_bn = 'torch'
