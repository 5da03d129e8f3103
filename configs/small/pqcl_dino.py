_base_ = './pqcl.py'
model = dict(masked=False)
train_dataloader = dict(dataset=dict(views=dict(global_=dict(mask=None))))
