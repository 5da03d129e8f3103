# BYOL's two views, which MoCo v3 and Barlow Twins keep: the one is always blurred, the other sometimes solarised.
_base_ = './imagenet.py'
train_dataloader = dict(
    batch_size=256,
    dataset=dict(views=dict(
        global_=dict(
            scale=(0.08, 1.0),
            photometric=[dict(blur_prob=1.0), dict(blur_prob=0.1, solarize_prob=0.2)]),
        local=None,
    )))
