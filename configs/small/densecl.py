# Its thin ResNet makes 2 x 2 cells of a view; densecl_vit.py has 4 x 4.
_base_ = './mocov2.py'
model = dict(type='DenseCL', matching='backbone', dense_weight=0.5)
