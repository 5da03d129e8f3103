# The tokenizer of configs/pretrain/beit.py: 8192 codes for patches of 8 pixels of 112 (the authors' is DALL-E's). Source: DALL-E's paper
# for the objective; its schedule is ours.
_base_ = [
    '../_base_/models/beit_tokenizer.py', '../_base_/datasets/imagenet.py', '../_base_/schedules/masked_adamw.py',
    '../_base_/default_runtime.py'
]
train_dataloader = dict(dataset=dict(views=dict(
    global_=dict(
        _delete_=True, type='CropViews', size=112, scale=(0.08, 1.0),
        photometric=dict(jitter=(0.4, 0.4, 0.4, 0.0), jitter_prob=1.0, gray_prob=0.0, blur_prob=0.0)),
    local=None,
)))
# lr is per 256 images.
optim_wrapper = dict(optimizer=dict(lr=5e-4, betas=(0.9, 0.999), weight_decay=0.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-9, begin=0, end=1, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, begin=1, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=20)
sync_bn = 'torch'
