# iBOT, ViT-S: DINO's probe at 45 rates at once, n 10^k.
_base_ = './linear_dino.py'
model = dict(rates=[n * 10.0**k for k in range(-4, 1) for n in range(1, 10)])
default_hooks = dict(record=dict(framework='linear-ibot'))
