_base_ = './dino.py'
model = dict(type='ADCLR', query_weight=0.5)
train_dataloader = dict(dataset=dict(views=dict(
    query=dict(type='CropViews', num=10, size=8, scale=(0.05, 0.15), flip=0.0),
)))
