# BAM's views: those of DINO with more saturation and six local ones.
_base_ = './imagenet.py'
train_dataloader = dict(
    batch_size=256,
    dataset=dict(views=dict(
        global_=dict(photometric=[dict(jitter=(0.4, 0.4, 0.4, 0.1), blur_prob=1.0),
                                  dict(jitter=(0.4, 0.4, 0.4, 0.1), blur_prob=0.1, solarize_prob=0.2)]),
        local=dict(num=6, photometric=dict(jitter=(0.4, 0.4, 0.4, 0.1), blur_prob=0.5)),
    )))
