# DeiT's crops: RandAugment follows, erasing, mixup and CutMix are the model's. A colour jitter of 0.4 is in the published commands too,
# but timm leaves it out where there is RandAugment.
_base_ = './imagenet_labelled.py'
train_dataloader = dict(
    dataset=dict(
        views=dict(
            global_=dict(interpolation='bicubic', photometric=dict(type='RandAugment', size=224, recipe='rand-m9-mstd0.5-inc1')))))
