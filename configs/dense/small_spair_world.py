# Keypoints of the sample world, for small transformers.
_base_ = './spair.py'
model = dict(backbone=dict(arch=dict(_delete_=True, embed_dim=128, depth=4, num_heads=2), patch_size=8, img_size=64))
test_dataloader = dict(dataset=dict(data_root='data/sample_world/spair', size=224))
default_hooks = dict(record=dict(dataset='sample-world'))
