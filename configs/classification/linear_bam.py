# BAM: normalised class token and mean of the patches of the last block.
_base_ = './linear_dino.py'
model = dict(extractor=dict(blocks=1, read='class+mean'), norm=True, rates=[0.002])
default_hooks = dict(record=dict(framework='linear-bam'))
