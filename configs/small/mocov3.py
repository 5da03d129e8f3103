_base_ = [
    '../_base_/models/mocov3.py', '../_base_/datasets/small_images.py', '../_base_/schedules/small.py',
    '../_base_/default_runtime.py'
]
model = dict(
    backbone=dict(arch=dict(embed_dim=128, depth=4, num_heads=2), patch_size=8, img_size=64),
    projector=dict(hidden_dim=512),
    predictor=dict(hidden_dim=512))
optim_wrapper = dict(clip_per_tensor=None)
sync_bn = 'torch'
