# PQCL on DINO, ViT-S/16: as pqcl.py, nothing masked. Source: the paper, which has its numbers; no code for it was released.
_base_ = './pqcl.py'
model = dict(masked=False)
train_dataloader = dict(dataset=dict(views=dict(global_=dict(mask=None))))
