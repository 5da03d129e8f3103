_base_ = [
    '../_base_/models/adclr.py', '../_base_/datasets/small_images.py', '../_base_/schedules/small.py',
    '../_base_/default_runtime.py'
]
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=192, depth=6, num_heads=3), patch_size=8, img_size=64),
    head=dict(num_prototypes=1024, hidden_dim=512, bottleneck_dim=128),
    momentum=0.99)
train_dataloader = dict(dataset=dict(views=dict(
    query=dict(type='CropViews', num=10, size=8, scale=(0.05, 0.15), flip=0.0),
)))
