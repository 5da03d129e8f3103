# BAM whose crops follow the teacher's attention, from epoch 40 on, looked up every 20 epochs. Source: the paper, and ContrastiveCrop's
# authors for what it leaves open: crops are resized bilinearly. BAM's own code resizes bicubically: bam_scripts.py.
_base_ = './bam.py'
train_dataloader = dict(dataset=dict(views=dict(
    global_=dict(box_alpha=0.6, interpolation='bilinear'),
    local=dict(box_alpha=0.6, interpolation='bilinear'),
)))
default_hooks = dict(contrastive_crop=dict(type='ContrastiveCropHook', warmup=40, interval=20))
