# The paper's Eq. 2: attention is its own target, neither balanced nor sharpened. Training collapses.
_base_ = './bam.py'
model = dict(target_temperature=(0.1, 0.1, 0), attention=dict(iterations=0))
