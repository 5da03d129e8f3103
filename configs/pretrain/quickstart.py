# PQCL with a tiny ViT on the rendered sample world, for tools/quickstart.sh: minutes on two cores.
_base_ = '../small/pqcl.py'
