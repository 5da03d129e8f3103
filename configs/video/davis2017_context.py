# BAM's sweep over the number of context frames; features are computed once.
_base_ = './davis2017.py'
model = dict(context_frames=[1, 4, 7, 10])
