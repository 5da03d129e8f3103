_base_ = [
    '../_base_/models/beit_tokenizer.py', '../_base_/datasets/small_images.py', '../_base_/schedules/small.py',
    '../_base_/default_runtime.py'
]
model = dict(backbone=dict(num_codes=512, width=64, depth=1))
train_dataloader = dict(dataset=dict(views=dict(
    global_=dict(_delete_=True, type='CropViews', size=64, scale=(0.2, 1.0)),
)))
optim_wrapper = dict(optimizer=dict(lr=8e-3, weight_decay=0.0), clip_per_tensor=None)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-9, begin=0, end=1, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, begin=1, by_epoch=True, convert_to_iter_based=True),
]
