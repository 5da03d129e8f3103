# Copydays, strong copies: data/copydays/{original,strong}. Published figures have 10,000 photos of YFCC100M as distractors, and 20,000
# others for the whitening: test_dataloader.dataset.distractors=FOLDER test_dataloader.dataset.whitening=FOLDER
_base_ = '../_base_/frozen_runtime.py'
model = dict(type='ImageDescriptor', extractor=dict(read='class'), gem=4)
test_dataloader = dict(
    dataset=dict(
        type='Copydays',
        data_root='data/copydays',
        queries='strong',
        distractors=None,
        num_distractors=10000,
        whitening=None,
        num_whitening=20000,
        size=320))
test_evaluator = dict(type='CopyDetectionMetric', top=20)
default_hooks = dict(record=dict(task='copy-detection', dataset='copydays'))
