_base_ = './dino.py'
model = dict(type='ADCLR', query_weight=0.5, query_center='own')
