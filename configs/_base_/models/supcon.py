model = dict(
    type='SupCon',
    backbone=dict(type='TimmBackbone', name='resnet50'),
    projector=dict(hidden_dim=2048, out_dim=128, num_layers=2),
    temperature=0.1,
    base_temperature=0.07,
    inside=False,
    contrast_mode='all')
