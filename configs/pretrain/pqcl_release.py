# PQCL as its authors' release trains it (the command of Sherrylone/PQCL), ViT-S/16: 100 epochs, 2x224, one 96 px query crop of 36 tokens,
# global batch 512 (8 GPUs of 64 images). From pqcl.py, the paper's recipe, it differs in: masks as iBOT's (half of the global views
# unmasked, else U(0.1, 0.5) of their patches); both global views in the first recipe (blurred, never solarised); queries that read
# queries. A step is the release's to rounding but for: the release takes no account of a view's flip in its queries' positions (a
# mistake, half of them are mirrored wrongly), resizes the teacher's table of positions for the query crop where ours evaluates it (1 to
# 3 % of a position), and draws stochastic depth for queries and images apart.
_base_ = './pqcl.py'
model = dict(
    backbone=dict(query_keys='image+queries', remainder='cut'),
    teacher_temperature=dict(_delete_=True, cls=(0.04, 0.07, 30), patch=(0.04, 0.07, 30), query=(0.04, 0.07, 30)))
train_dataloader = dict(dataset=dict(views=dict(
    global_=dict(num=2, photometric=dict(_delete_=True, blur_prob=1.0), mask=dict(ratio=(0.0, 0.3), variance=(0.0, 0.2))),
)))
train_cfg = dict(max_epochs=100)
