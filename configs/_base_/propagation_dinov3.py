# The numbers of DINOv3's public notebook.
model = dict(
    backbone=dict(type='mmdssl.VisionTransformer', arch='small', patch_size=16),
    context_frames=7,
    radius=12,
    neighbourhood='circle',
    top_k=5,
    temperature=0.2,
    std=(58.395, 57.12, 57.375))
