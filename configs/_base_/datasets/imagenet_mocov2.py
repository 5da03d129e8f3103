# MoCo v2's two views, both with one recipe.
_base_ = './imagenet.py'
train_dataloader = dict(
    batch_size=32,
    dataset=dict(views=dict(
        global_=dict(
            num=2, scale=(0.2, 1.0), interpolation='bilinear',
            photometric=dict(_delete_=True, jitter=(0.4, 0.4, 0.4, 0.1), blur_prob=0.5)),
        local=None,
    )))
