# BEiT, ViT-B/16: 800 epochs, one view of 224, 75 of its 196 patches masked in blocks, global batch 2048 (32 GPUs of 64 images). First train
# the tokenizer: tools/train.py configs/pretrain/beit_tokenizer.py Source: the authors' code (microsoft/unilm), whose step and masks these
# are to rounding; of an own tokenizer, as DALL-E's weights are not to be had.
_base_ = [
    '../_base_/models/beit.py', '../_base_/datasets/imagenet.py', '../_base_/schedules/masked_adamw.py',
    '../_base_/default_runtime.py'
]
train_dataloader = dict(dataset=dict(views=dict(
    global_=dict(
        _delete_=True, type='CropViews', size=224, scale=(0.08, 1.0),
        photometric=dict(jitter=(0.4, 0.4, 0.4, 0.0), jitter_prob=1.0, gray_prob=0.0, blur_prob=0.0),
        mask=dict(type='BlockMask', patch_size=16, ratio=75 / 196)),
    local=None,
)))
# lr is per 2048 images. The class token decays like the mask token; the authors except it.
optim_wrapper = dict(optimizer=dict(lr=1.5e-3, betas=(0.9, 0.999)), clip_grad=dict(max_norm=3.0))
auto_scale_lr = dict(base_batch_size=2048)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-9, begin=0, end=10, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, begin=10, by_epoch=True, convert_to_iter_based=True),
]
