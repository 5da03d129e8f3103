# iBOT, ViT-B/16: as ibot.py, with a rate of 7.5e-4 and clipping at 0.3 for 400 epochs, as reported of the authors' run; prototypes of
# length 1, as DINO has them for this size.
_base_ = './ibot.py'
model = dict(backbone=dict(arch='base'), head=dict(norm_last_layer=True))
optim_wrapper = dict(optimizer=dict(lr=7.5e-4), clip_per_tensor=0.3)
train_cfg = dict(max_epochs=400)
