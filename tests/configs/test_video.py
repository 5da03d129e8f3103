"""What configs/video have of the recipes that they are named after."""
from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

from mmdssl.registry import DATASETS, MODELS

CONFIGS = Path(__file__).parents[2] / 'configs/video'
CRW = dict(neighbourhood='circle', first_everywhere=True, repeat_first=True)


def test_defaults_are_those_of_dinos_evaluation(davis_root):
    cfg = Config.fromfile(CONFIGS / 'davis2017.py')
    model = MODELS.build(cfg.model)
    assert (model.context_frames, model.rules) == (7, 'dino')
    assert model.options == dict(radius=12, top_k=5, temperature=0.1, neighbourhood='square', first_everywhere=False,
                                 repeat_first=False)
    assert model.backbone.embed_dim == 384 and model.backbone.out_norm and model.backbone.out_indices == [11]
    assert pytest.approx(model.data_preprocessor.std.flatten().tolist()) == (255 * 0.228, 255 * 0.224, 255 * 0.225)
    dataset = DATASETS.build(dict(cfg.test_dataloader.dataset, data_root=str(davis_root)))
    assert (dataset.short_side, dataset.long_side_step) == (480, 64)


def test_sweep_differs_in_context_frames_only():
    one, several = (Config.fromfile(CONFIGS / f'{name}.py') for name in ('davis2017', 'davis2017_context'))
    assert len(several.model.pop('context_frames')) == 4 and one.model.pop('context_frames') == 7
    assert one.to_dict() == several.to_dict()


@pytest.mark.parametrize('recipe, numbers, rules', [
    ('crw', dict(context_frames=20, radius=11.99, top_k=10, temperature=0.05, **CRW), 'crw'),
    ('dinov3', dict(context_frames=7, radius=12, neighbourhood='circle', top_k=5, temperature=0.2), 'dinov3'),
    ('cropmae', dict(context_frames=20, radius=19.99, top_k=7, temperature=0.7, **CRW), 'crw'),
])
def test_a_recipe_has_its_numbers_on_all_data_sets(recipe, numbers, rules):
    for data in ('davis2017', 'jhmdb', 'vip'):
        cfg = Config.fromfile(CONFIGS / f'{data}_{recipe}.py')
        expected = {**numbers, 'std': (58.395, 57.12, 57.375)}
        if data != 'jhmdb':
            expected['rules'] = rules
        if (data, recipe) == ('vip', 'cropmae'):
            expected['top_k'] = 10
        assert {key: cfg.model.get(key) for key in expected} == expected
        assert cfg.default_hooks.record.framework == recipe


def test_frames_have_the_sizes_of_the_recipes(davis_root):
    def size(name, height, width):
        resize = Config.fromfile(CONFIGS / f'{name}.py').test_dataloader.dataset
        keys = 'short_side', 'long_side', 'size', 'long_side_step'
        return DATASETS.build(dict(type='DAVIS', data_root=str(davis_root), **{key: resize[key] for key in keys if key in resize})
                              ).resized(height, width)
    assert size('davis2017', 480, 854) == (480, 832)
    assert size('davis2017_crw', 480, 854) == (480, 848)
    assert size('davis2017_dinov3', 480, 854) == (960, 1696)
    assert size('davis2017_cropmae', 480, 854) == (480, 880)
    assert size('jhmdb_crw', 240, 320) == size('jhmdb_cropmae', 240, 320) == (320, 320)
    assert size('vip_cropmae', 720, 1280) == (448, 880) and size('vip_cropmae', 1280, 720) == (880, 448)
    assert size('vip_crw', 720, 1280) == (560, 992)


def test_only_masks_of_the_first_frame_of_vip_are_predicted_too():
    for path in CONFIGS.glob('*.py'):
        model = Config.fromfile(path).model
        assert model.get('keep_first', True) == ('vip' not in path.name)
