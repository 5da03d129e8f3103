model = dict(
    type='LooC',
    backbone=dict(type='TimmBackbone', name='resnet50'),
    projector=dict(hidden_dim=2048, out_dim=128, num_layers=2),
    num_families=3,
    queue_size=16384,
    temperature=0.2,
    momentum=0.999)
