# DAVIS-2017 mask propagation: data/davis/{JPEGImages/480p,Annotations/480p,ImageSets/2017/val.txt}. The baseline that
# copies the first mask: model.copy_first=True.
_base_ = ['../_base_/datasets/davis2017.py', '../_base_/propagation_dino.py']
model = dict(type='MaskPropagation')
