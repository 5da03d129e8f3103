# A CAFormer of stride 8, about as costly as the small ViT: two stages of separable convolutions, two of attention.
_base_ = './bam.py'
model = dict(backbone=dict(
    _delete_=True, type='TimmBackbone', name='caformer', model_args=dict(depths=(1, 1, 1, 1), dims=(64, 64, 128, 128))))
