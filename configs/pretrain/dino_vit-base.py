# DINO, ViT-B/16: as dino.py, with a rate of 7.5e-4, clipping at 0.3 and prototypes of length 1 for 400 epochs, as reported of the authors'
# run.
_base_ = './dino.py'
model = dict(backbone=dict(arch='base'), head=dict(norm_last_layer=True))
optim_wrapper = dict(optimizer=dict(lr=7.5e-4), clip_per_tensor=0.3)
train_cfg = dict(max_epochs=400)
