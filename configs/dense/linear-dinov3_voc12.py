# As on ADE20K, with the 21 classes of VOC 2012 and its augmented training set; 255 is not counted.
_base_ = [
    '../_base_/models/linear-dinov3_vit-small.py', 'mmseg::_base_/datasets/pascal_voc12_aug.py',
    '../_base_/schedules/linear-dinov3_40k.py', '../_base_/mmseg_runtime.py'
]
model = dict(decode_head=dict(num_classes=21))
train_dataloader = dict(batch_size=16)
default_hooks = dict(
    record=dict(task='linear-dinov3', dataset='voc12', setting=dict(image=512, mask='original', classes=21)))
