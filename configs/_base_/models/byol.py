model = dict(
    type='BYOL',
    backbone=dict(type='TimmBackbone', name='resnet50'),
    projector=dict(hidden_dim=4096, out_dim=256, num_layers=2, norm=True, last_norm=None, last_bias=False),
    predictor=dict(hidden_dim=4096, num_layers=2, norm=True, last_norm=None, last_bias=False),
    momentum=0.996)
