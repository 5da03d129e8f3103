model = dict(
    type='SwAV',
    backbone=dict(type='TimmBackbone', name='resnet50'),
    projector=dict(hidden_dim=2048, out_dim=128, num_layers=2, norm=True, last_norm=None),
    num_prototypes=3000,
    temperature=0.1,
    epsilon=0.05,
    iterations=3,
    queue_size=0,
    freeze_prototypes=313)
