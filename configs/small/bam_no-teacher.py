_base_ = './bam.py'
model = dict(teacher=False)
sync_bn = 'torch'
