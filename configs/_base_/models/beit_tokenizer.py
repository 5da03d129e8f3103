model = dict(
    type='DVAE',
    backbone=dict(type='DVAEEncoder', num_codes=8192, stride=8, width=256, depth=2),
    temperature=(1.0, 1 / 16),
    kl_weight=0.0)
