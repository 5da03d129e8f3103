# The tokenizer is the one that configs/pretrain/beit_tokenizer.py trains.
model = dict(
    type='BEiT',
    backbone=dict(
        type='VisionTransformer', arch='base', patch_size=16, img_size=224, position='none', relative_position='shared',
        layer_scale=0.1, mask_token=True, drop_path_rate=0.1, init='beit', pool='mean'),
    tokenizer=dict(
        type='DVAEEncoder', num_codes=8192, stride=8, width=256, depth=2,
        init_cfg=dict(type='SSLPretrained', checkpoint='work_dirs/beit_tokenizer/backbone.safetensors')))
