# BAM without a teacher: the student makes its own targets, and its projector has batch normalisation.
_base_ = './bam.py'
model = dict(teacher=False)
sync_bn = 'torch'
