# PQCL with a small ViT on the rendered sample world, for tools/quickstart.sh: minutes on two cores.
_base_ = '../small/pqcl.py'
train_cfg = dict(max_epochs=15, val_interval=3)
