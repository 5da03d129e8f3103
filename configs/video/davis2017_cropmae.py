_base_ = ['../_base_/datasets/davis2017.py', '../_base_/propagation_cropmae.py']
model = dict(type='MaskPropagation', rules='crw')
test_dataloader = dict(dataset=dict(size=(480, 880)))
default_hooks = dict(record=dict(framework='cropmae'))
