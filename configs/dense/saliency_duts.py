# The test images of DUTS: data/DUTS-TE with DUTS-TE-Image/*.jpg and DUTS-TE-Mask/*.png
_base_ = './saliency_ecssd.py'
test_dataloader = dict(dataset=dict(
    data_root='data/DUTS-TE', data_prefix=dict(img_path='DUTS-TE-Image', mask_path='DUTS-TE-Mask')))
default_hooks = dict(record=dict(dataset='duts-te'))
