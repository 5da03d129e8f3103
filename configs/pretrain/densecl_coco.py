# DenseCL, ResNet-50, on the 118,000 images of COCO: 800 epochs, a rate ten times as high as on ImageNet. No labels, hence no k-NN. Source:
# as densecl.py.
_base_ = './densecl.py'
train_dataloader = dict(dataset=dict(
    type='CocoImages', data_root='data/coco', ann_file='annotations/instances_train2017.json', data_prefix=dict(img='train2017')))
val_dataloader = None
val_cfg = None
val_evaluator = None
optim_wrapper = dict(optimizer=dict(lr=0.3))
train_cfg = dict(max_epochs=800)
