# YouTube-VOS, whose server alone can score the masks: data/youtube-vos/valid/{JPEGImages,Annotations,meta.json}
_base_ = ['../_base_/datasets/youtube_vos.py', '../_base_/propagation_dino.py']
model = dict(type='MaskPropagation')
default_hooks = dict(record=dict(framework='dino'))
