# data/DUT-OMRON with DUT-OMRON-image/*.jpg and pixelwiseGT-new-PNG/*.png
_base_ = './saliency_ecssd.py'
test_dataloader = dict(dataset=dict(
    data_root='data/DUT-OMRON', data_prefix=dict(img_path='DUT-OMRON-image', mask_path='pixelwiseGT-new-PNG')))
default_hooks = dict(record=dict(dataset='dut-omron'))
