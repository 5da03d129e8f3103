# As pqcl_dino.py, with ViT-B/16: the paper's 400 epochs; prototypes of length 1, as DINO has them for this size.
_base_ = './pqcl_dino.py'
model = dict(backbone=dict(arch='base'), head=dict(norm_last_layer=True))
