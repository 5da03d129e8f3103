# DINO's numbers.
model = dict(
    backbone=dict(type='mmdssl.VisionTransformer', arch='small', patch_size=16),
    context_frames=7,
    radius=12,
    top_k=5,
    temperature=0.1)
