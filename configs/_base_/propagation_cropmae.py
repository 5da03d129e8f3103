# CropMAE's numbers (Eymael et al., ECCV 2024), in CRW's code.
_base_ = './propagation_crw.py'
model = dict(radius=19.99, top_k=7, temperature=0.7)
