# A config for MIM, which wants a file: mim train mmdssl pretraining.py --data FOLDER
_base_ = 'mmdssl::small/pqcl.py'
