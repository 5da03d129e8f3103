_base_ = './dino.py'
model = dict(type='IBOT', backbone=dict(mask_token=True))
train_dataloader = dict(dataset=dict(views=dict(
    global_=dict(mask=dict(type='BlockMask', patch_size=8, ratio=0.3)),
)))
