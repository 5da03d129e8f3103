# iBOT's probe of the networks of configs/small, on images of 64 px in class folders: data/small/{train,val}/<class>/*.
_base_ = './linear_ibot.py'
model = dict(
    backbone=dict(arch=dict(_delete_=True, embed_dim=128, depth=4, num_heads=2), patch_size=8, img_size=64),
    extractor=dict(blocks=1, read='pooled'),  # which any network has
    rates=[0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0],
    norm=[False, True])
train_dataloader = dict(
    batch_size=250,
    num_workers=2,
    pin_memory=False,
    dataset=dict(dataset=dict(data_root='data/small/train'), views=dict(global_=dict(size=64))))
val_dataloader = dict(batch_size=250, num_workers=2, dataset=dict(data_root='data/small/val', resize=64, size=64))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=10)
