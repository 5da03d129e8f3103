_base_ = [
    '../_base_/models/dino.py', '../_base_/datasets/small_images.py', '../_base_/schedules/small.py',
    '../_base_/default_runtime.py'
]
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=128, depth=4, num_heads=2), patch_size=8, img_size=64, drop_path_rate=0.0),
    head=dict(num_prototypes=1024, hidden_dim=512, bottleneck_dim=64),
    momentum=0.99,
    teacher_temperature=(0.04, 0.04, 0),
    freeze_last_layer=0)
