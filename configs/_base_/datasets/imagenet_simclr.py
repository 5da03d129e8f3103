# SimCLR's two views, both with one recipe: strong jitter.
_base_ = './imagenet.py'
train_dataloader = dict(
    batch_size=256,
    dataset=dict(views=dict(
        global_=dict(
            num=2, scale=(0.08, 1.0), photometric=dict(_delete_=True, jitter=(0.8, 0.8, 0.8, 0.2), blur_prob=0.5)),
        local=None,
    )))
