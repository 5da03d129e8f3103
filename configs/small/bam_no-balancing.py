# The ablation that collapses: the target is not balanced.
_base_ = './bam.py'
model = dict(attention=dict(iterations=0))
