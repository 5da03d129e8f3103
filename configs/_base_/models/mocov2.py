model = dict(
    type='MoCoV2',
    backbone=dict(type='TimmBackbone', name='resnet50'),
    projector=dict(hidden_dim=2048, out_dim=128, num_layers=2),
    queue_size=65536,
    temperature=0.2,
    momentum=0.999)
