# A linear classifier of the patches of a frozen backbone (iBOT): the four normalised maps side by side, one 1x1 convolution.
_base_ = './upernet_vit-small_160k_ade20k.py'
model = dict(
    backbone=dict(pyramid=False, frozen=True, drop_path_rate=0.0),
    decode_head=dict(
        _delete_=True,
        type='FCNHead',
        in_channels=[384, 384, 384, 384],
        in_index=[0, 1, 2, 3],
        input_transform='resize_concat',
        channels=1536,
        num_convs=0,
        concat_input=False,
        dropout_ratio=0.0,
        num_classes=150,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0)),
    auxiliary_head=None)
optim_wrapper = dict(optimizer=dict(lr=8e-4), paramwise_cfg=dict(layer_decay=1.0))
default_hooks = dict(record=dict(task='linear-ibot', framework=None))
