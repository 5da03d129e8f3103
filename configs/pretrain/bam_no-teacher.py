# BAM without a teacher: the student makes its own targets, and its projector has batch normalisation. Source: the paper, and the authors'
# code for its norms.
_base_ = './bam.py'
model = dict(teacher=False)
sync_bn = 'torch'
