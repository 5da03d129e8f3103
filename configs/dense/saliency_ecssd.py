# TokenCut's mask of what is salient: data/ECSSD with images/*.jpg and ground_truth_mask/*.png
_base_ = '../_base_/frozen_runtime.py'
model = dict(type='TokenCutSaliency', threshold=0.2, weight=1e-5)
test_dataloader = dict(dataset=dict(
    type='SalientObjects', data_root='data/ECSSD', data_prefix=dict(img_path='images', mask_path='ground_truth_mask')))
test_evaluator = dict(type='SaliencyMetric')
default_hooks = dict(record=dict(task='saliency-tokencut', dataset='ecssd'))
