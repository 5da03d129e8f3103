# BAM whose crops follow the teacher's attention (ContrastiveCrop): from epoch 40 on, looked up every 20 epochs.
_base_ = './bam.py'
train_dataloader = dict(dataset=dict(views=dict(global_=dict(box_alpha=0.6), local=dict(box_alpha=0.6))))
default_hooks = dict(contrastive_crop=dict(type='ContrastiveCropHook', warmup=40, interval=20))
