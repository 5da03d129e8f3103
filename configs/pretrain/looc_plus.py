# LooC++: each embedding space has a last residual stage of its own, and what serves other tasks is all of them. Source: the paper.
_base_ = './looc.py'
model = dict(plus=True, backbone=dict(branches=4))
