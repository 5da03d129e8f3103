# DiLo on MoCo v2, ResNet-50: with a probability of 0.3 a view shows its object on a gray background. `tools/make_saliency.py` makes the
# masks of the objects. Source: the paper, otherwise as mocov2.py.
_base_ = './mocov2.py'
train_dataloader = dict(dataset=dict(
    pipeline=[dict(type='mmdssl.LoadSaliency')],
    views=dict(global_=dict(before=dict(type='SwapBackground', prob=0.3, kinds=('gray', ), blending='mix')))))
