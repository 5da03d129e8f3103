_base_ = './ibot.py'
model = dict(type='PQCL', backbone=dict(position='sincos'))
train_dataloader = dict(dataset=dict(views=dict(
    query=dict(
        type='CropViews', num=1, size=24, scale=(0.05, 0.25), flip=0.0,
        photometric=dict(blur_prob=0.5, blur_radius=(0.1, 1.0))),
)))
