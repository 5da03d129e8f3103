_base_ = [
    '../_base_/models/bam.py', '../_base_/datasets/small_images.py', '../_base_/schedules/small.py',
    '../_base_/default_runtime.py'
]
model = dict(
    backbone=dict(arch=dict(embed_dim=128, depth=4, num_heads=2), patch_size=8, img_size=64),
    projector=dict(hidden_dim=512, out_dim=512),
    momentum=0.99)
optim_wrapper = dict(clip_per_tensor=None, clip_grad=dict(max_norm=0.3))
