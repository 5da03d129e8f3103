# First train the tokenizer: tools/train.py configs/small/beit_tokenizer.py
_base_ = './beit.py'
model = dict(tokenizer=dict(
    _delete_=True, type='DVAEEncoder', num_codes=512, stride=8, width=64, depth=1,
    init_cfg=dict(type='SSLPretrained', checkpoint='work_dirs/beit_tokenizer/backbone.safetensors')))
