model = dict(
    type='BarlowTwins',
    backbone=dict(type='TimmBackbone', name='resnet50'),
    projector=dict(hidden_dim=8192, out_dim=8192, num_layers=3, norm=True, last_norm=None, bias=False),
    off_diagonal_weight=0.0051)
