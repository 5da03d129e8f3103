# As small/mocov2.py, with the views of pretrain/dilo.py.
_base_ = './mocov2.py'
train_dataloader = dict(dataset=dict(
    pipeline=[dict(type='mmdssl.LoadSaliency')],
    views=dict(global_=dict(before=dict(type='SwapBackground', prob=0.3, kinds=('gray', ), blending='mix')))))
