# The rate stands to that of the other small configs as BAM's to DINO's in the papers: 3e-3 per 4096 images to 5e-4 per 256.
_base_ = [
    '../_base_/models/bam.py', '../_base_/datasets/small_images.py', '../_base_/schedules/small.py',
    '../_base_/default_runtime.py'
]
model = dict(
    backbone=dict(arch=dict(embed_dim=128, depth=4, num_heads=2), patch_size=8, img_size=64),
    projector=dict(hidden_dim=512, out_dim=512),
    momentum=0.99)
optim_wrapper = dict(optimizer=dict(lr=9e-4), clip_per_tensor=None, clip_grad=dict(max_norm=0.3))
