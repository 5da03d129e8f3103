# ADCLR with iBOT's masked objective, ViT-S/16 (the rows marked * in the paper). Source: as adclr.py, masks as iBOT's code.
_base_ = './adclr.py'
model = dict(masked=True, backbone=dict(mask_token=True), head=dict(num_prototypes=8192))
train_dataloader = dict(dataset=dict(views=dict(
    global_=dict(mask=dict(type='BlockMask', patch_size=16, ratio=(0.0, 0.3), variance=(0.0, 0.2))),
)))
