_base_ = [
    '../_base_/models/pqcl.py', '../_base_/datasets/small_images.py', '../_base_/schedules/small.py',
    '../_base_/default_runtime.py'
]
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=192, depth=6, num_heads=3), patch_size=8, img_size=64),
    head=dict(num_prototypes=1024, hidden_dim=512, bottleneck_dim=128),
    momentum=0.99)
train_dataloader = dict(dataset=dict(views=dict(
    global_=dict(mask=dict(type='BlockMask', patch_size=8, ratio=0.3)),
    query=dict(type='CropViews', num=1, size=32, scale=(0.05, 0.25), flip=0.0,
                  photometric=dict(blur_prob=0.5, blur_radius=(0.1, 1.0))),
)))
