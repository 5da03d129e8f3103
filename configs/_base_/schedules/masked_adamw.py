# The optimisation of masked image modelling, as MAE has it; weight decay is constant. `lr` is per 256 images.
_base_ = './adamw_cosine.py'
optim_wrapper = dict(optimizer=dict(lr=1.5e-4, betas=(0.9, 0.95), weight_decay=0.05), clip_per_tensor=None)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-9, begin=0, end=40, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=0.0, begin=40, by_epoch=True, convert_to_iter_based=True),
]
