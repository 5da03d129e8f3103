# How the images of protocols on patches are read; a data set names its own.
_loader = dict(batch_size=32, num_workers=8, sampler=dict(type='DefaultSampler', shuffle=False))
test_dataloader = dict(_loader)
test_cfg = dict(type='ProtocolLoop', bank=dict(_loader))
del _loader
