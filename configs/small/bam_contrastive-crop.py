# A small network looks everywhere a little: at the usual threshold of 0.1 its boxes are nearly the whole image.
_base_ = './bam.py'
train_dataloader = dict(dataset=dict(views=dict(global_=dict(box_alpha=0.6))))
default_hooks = dict(contrastive_crop=dict(type='ContrastiveCropHook', size=64, threshold=0.5))
