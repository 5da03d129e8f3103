_base_ = './mocov2.py'
model = dict(type='DenseCL', grid=None, matching='backbone', dense_weight=0.5, dense_warmup=0)
