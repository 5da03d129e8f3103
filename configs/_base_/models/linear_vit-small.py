model = dict(
    type='LinearProbe',
    backbone=dict(type='VisionTransformer', arch='small'),
    num_classes=1000)
