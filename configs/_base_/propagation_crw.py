# CRW's numbers (Jabri et al., NeurIPS 2020), read in its public code. Tokens are nearer than 12, not at most 12 away.
model = dict(
    backbone=dict(type='mmdssl.VisionTransformer', arch='small', patch_size=16),
    context_frames=20,
    radius=11.99,
    neighbourhood='circle',
    first_everywhere=True,
    repeat_first=True,
    top_k=10,
    temperature=0.05,
    std=(58.395, 57.12, 57.375))
