"""What SelfPatch's options change, and what becomes of its backbone; the authors' own numbers are in ``test_dense_public_code``."""
from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmdssl.checkpoint import save_backbone
from mmdssl.datasets.views import ViewGroup, Views
from mmdssl.engine.own_weights import use_weights
from mmdssl.errors import InputError
from mmdssl.models.layers.class_attention import similar_neighbours
from mmdssl.registry import MODELS
from mmdssl.schedules import Progress

CONFIGS = Path(__file__).parents[3] / 'configs'
BARE = dict(class_token=False, final_norm=False)


@pytest.fixture
def make(make_algorithm):
    """Function that builds SelfPatch."""
    def make(backbone=BARE, **settings):
        return make_algorithm('SelfPatch', backbone=backbone, **settings)
    return make


def of_size(height: int, width: int, number: int = 2) -> ViewGroup:
    return ViewGroup(torch.randn(number, 3, 3, height, width), torch.zeros(0), torch.zeros(0))


@pytest.mark.parametrize('neighbours', [1, 4, 8])
@pytest.mark.parametrize('local', [True, False])
def test_loss_and_gradients_are_those_of_the_equations(make, local, neighbours):
    """Each patch by itself, on views that are not square."""
    algorithm = make(num_neighbours=neighbours, patch_weight=0.3).double()
    groups = {'global': of_size(24, 40), **({'local': of_size(16, 24, 3)} if local else {})}
    for group in groups.values():
        group.images = group.images.double()
    before = algorithm.centers['patch'].center.clone()
    terms, all_logits = [], []
    for group in groups.values():
        for view in group.images:
            patches = algorithm.teacher.backbone.forward_tokens(view).patches
            index = similar_neighbours(patches, algorithm.backbone.grid_of(view), neighbours)
            tokens = algorithm.student.backbone.forward_tokens(view).patches
            losses = []
            for image in range(len(view)):
                for place in range(patches.shape[1]):
                    target = algorithm.teacher.aggregation(patches[image, index[image, place]][None])[0, 0]
                    head, other = algorithm.teacher.head['patch'], algorithm.student.head['patch']
                    teacher = head.score(head.project(target[None]))[0].detach()
                    student = other.score(other.project(algorithm.student.aggregation.norm(tokens[image, place])[None]))[0]
                    all_logits.append(teacher)
                    p = ((teacher - before) / 0.04).softmax(0)
                    losses.append(-(p * (student / 0.1).log_softmax(0)).sum())
            terms.append(torch.stack(losses).mean())
    loss, expected = algorithm.loss(Views(groups, torch.arange(3)))['loss_patch'], 0.3 * torch.stack(terms).mean()
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=0)
    parameters = [p for name, p in algorithm.student.named_parameters() if name.startswith(('backbone', 'aggregation.norm', 'head.patch'))]
    for ours, theirs in zip(*(torch.autograd.grad(value, parameters) for value in (loss, expected))):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-8)  # positions are resized in fp32
    torch.testing.assert_close(algorithm.centers['patch'].center, 0.9 * before + 0.1 * torch.stack(all_logits).mean(0))


def test_rank_is_that_of_the_features_that_are_evaluated(make, make_views):
    algorithm, views = make(), make_views()
    algorithm.loss(views)
    torch.testing.assert_close(algorithm._features, algorithm.backbone.features(views['global'].images.flatten(0, 1)))
    assert algorithm.backbone is algorithm.teacher.backbone


def test_prototypes_of_both_heads_are_frozen_at_first(make):
    algorithm = make(freeze_last_layer=1)
    algorithm.set_progress(Progress(0, 10, 0, 2))
    frozen = {id(p) for p in algorithm.frozen_parameters()}
    names = {name.split('.parametrizations')[0] for name, p in algorithm.student.named_parameters() if id(p) in frozen}
    assert names == {'head.cls.last_layer.cls', 'head.patch.last_layer.cls'}
    algorithm.set_progress(Progress(5, 10, 1, 2))
    assert not algorithm.frozen_parameters()


def test_centers_have_the_sizes_of_their_heads_and_one_momentum(make):
    algorithm = make(center_momentum=0.7)
    found = {name: (len(center.center), center.momentum) for name, center in algorithm.centers.items()}
    assert found == dict(cls=(12, 0.7), patch=(9, 0.7))
    assert algorithm.num_prototypes == 12


def test_mistakes_are_explained(make_algorithm, make):
    for backbone in (dict(BARE, class_token=True), dict(BARE, final_norm=True)):
        with pytest.raises(InputError, match='set class_token=False and final_norm=False of model.backbone'):
            make_algorithm('SelfPatch', backbone=backbone)
    with pytest.raises(InputError, match='num_neighbours=9, but a patch has 8 around it'):
        make(num_neighbours=9)
    with pytest.raises(InputError, match='views of 1 x 1 patches have none'):
        make().loss(Views({'global': of_size(32, 32), 'local': of_size(8, 8)}, torch.arange(3)))


@pytest.mark.parametrize('task', ['detection/mask-rcnn_vit-small_selfpatch_1x_coco', 'segmentation/semfpn_vit-small_selfpatch_40k_ade20k'])
def test_its_own_file_feeds_selfpatchs_dense_configs(make, tmp_path, task):
    """``--pretrained backbone.safetensors``: the same network, whose maps are those of its patches."""
    config = dict(type='mmdssl.VisionTransformer', arch=dict(embed_dim=16, depth=4, num_heads=2), patch_size=8, img_size=32, **BARE)
    algorithm = make(config)
    save_backbone(algorithm.backbone, tmp_path / 'backbone.safetensors', config, method='SelfPatch')
    cfg = Config.fromfile(CONFIGS / f'{task}.py')
    use_weights(cfg, str(tmp_path / 'backbone.safetensors'))
    widths = cfg.model.neck.in_channels
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        backbone = MODELS.build(cfg.model.backbone)
        backbone.init_weights()
    assert widths == [16] * 4 and backbone.cls_token is None and not backbone.out_norm
    images = torch.randn(2, 3, 64, 96)
    backbone.eval()
    expected = algorithm.backbone.forward_tokens(images).patches.transpose(1, 2).unflatten(2, (8, 12))
    if backbone.pyramid is None:
        torch.testing.assert_close(backbone(images)[-1], expected)
    else:
        torch.testing.assert_close(backbone.forward_tokens(images).patches.transpose(1, 2).unflatten(2, (8, 12)), expected)
        assert [tuple(level.shape[2:]) for level in backbone(images)] == [(16, 24), (8, 12), (4, 6), (2, 3)]
