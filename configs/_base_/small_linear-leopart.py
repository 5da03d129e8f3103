# For the ViT of configs/small (4 blocks of width 128, patches of 8 pixels): images of 128 px and masks of 32 x 32, smaller batches.
_base_ = './linear-leopart.py'
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=128, depth=4, num_heads=2), patch_size=8, img_size=64, position='sincos'),
    num_classes=11,
    mask_size=32)
train_dataloader = dict(batch_size=10, num_workers=1, pin_memory=False)
val_dataloader = dict(batch_size=10, num_workers=1)
test_dataloader = val_dataloader
test_cfg = dict(type='SegmentationLoop')
optim_wrapper = dict(optimizer=dict(lr=0.1))
auto_scale_lr = dict(base_batch_size=10)
train_cfg = dict(val_interval=25)
