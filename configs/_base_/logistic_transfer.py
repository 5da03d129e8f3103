# Logistic regression on frozen features, fitted with L-BFGS: data/transfer holds the data sets as torchvision reads them. The penalty is
# chosen on the official validation images, or on a fifth of the training images where there are none.
_base_ = './protocols_runtime.py'
test_dataloader = dict(
    batch_size=256,
    num_workers=8,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='TransferDataset', data_root='data/transfer', split='test', resize=224, size=224))
test_cfg = dict(
    type='ProtocolLoop',
    bank=dict(
        batch_size=256,
        num_workers=8,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(type='TransferDataset', data_root='data/transfer', split='train', resize=224, size=224)),
    cache='work_dirs/features')
test_evaluator = dict(type='LogisticMetric', measure='top1', val=0.2)
default_hooks = dict(record=dict(task='transfer-linear', framework='logistic'))
