# BAM as its authors' scripts train it (DanielShalam/BAM, scripts/pretrain/vit_small.slurm), ViT-S/16 with 12 heads: 400 epochs, a peak of
# 4.8e-3 at a global batch of 4096 (16 GPUs of 256 images), which falls to 1e-3; the 128 largest targets of an image; crops that follow the
# teacher's attention, bicubic, looked up after epochs 41, 81, ... The loss is theirs to rounding. Different: positions of local views are
# evaluated, theirs are timm's resized table (1 to 4 % of a position); and the released loss, which reads an attribute that it never sets,
# and look-up, which is called with an argument too much, are taken as they are meant.
_base_ = './bam.py'
model = dict(attention=dict(top_k=128))
train_dataloader = dict(dataset=dict(views=dict(global_=dict(box_alpha=0.6), local=dict(box_alpha=0.6))))
optim_wrapper = dict(optimizer=dict(lr=4.8e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-9, begin=0, end=40, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min_ratio=1 / 4.8, begin=40, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingParamScheduler', param_name='weight_decay', eta_min_ratio=10, by_epoch=True,
         convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=400)
default_hooks = dict(contrastive_crop=dict(type='ContrastiveCropHook', warmup=41, interval=40))
