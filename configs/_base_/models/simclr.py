model = dict(
    type='SimCLR',
    backbone=dict(type='TimmBackbone', name='resnet50'),
    projector=dict(hidden_dim=2048, out_dim=128, num_layers=2, norm=True, last_norm='affine', bias=False),
    temperature=0.1)
