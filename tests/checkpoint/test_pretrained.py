"""Loading into backbones that fit, that fit after a resize, and that do not."""
from __future__ import annotations

import builtins

import pytest
import timm
import torch
from mmengine.model import BaseModule
from mmengine.registry import DefaultScope
from plain import DEPTH, DIM, GRID, PATCH, resnet_weights, vit_weights
from releases import bam, behind, beit, beit_finetuned, dino, dino_bare, dinov2, ibot, mae_bare, mmdssl_run, mocov3
from safetensors.torch import save_file
from torch import nn

import mmdssl  # noqa: F401  before mmdet, which needs its stand-in for mmcv's compiled operators
from mmdssl.checkpoint import backbone_config, convert_checkpoint, load_backbone, load_pretrained, pretrained, read_pretrained
from mmdssl.errors import InputError
from mmdssl.registry import MODELS


@pytest.fixture
def save(tmp_path):
    """Function that saves content as a checkpoint and returns its path."""

    def save(content, name: str = 'file.pth'):
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return save


def vit(**options) -> nn.Module:
    """A backbone that fits the synthetic DINO but for the options."""
    return MODELS.build(dict(dict(type='VisionTransformer', arch=sizes(), patch_size=PATCH, img_size=GRID * PATCH,
                                  position_rule='dino'), **options))


def sizes(**changed) -> dict:
    return dict(dict(embed_dim=DIM, depth=DEPTH, num_heads=3), **changed)


def test_the_report_names_every_tensor(save):
    path = save(ibot().content)
    report = load_pretrained(vit(mask_token=True), path)
    assert sorted(report.matched) == sorted(vit().state_dict()) and not report.resized and not report.unexpected
    assert report.missing == dict(mask_token='only needed to mask patches')
    assert report.ignored['student.module.backbone.masked_embed'] == 'outside the backbone'
    assert report.ignored['teacher.head.mlp.0.weight'] == 'outside the backbone'
    assert str(report) == (f'{path}: layout ibot (teacher.backbone.*), {len(report.matched)} tensors matched, 0 '
                           f'resized, {len(report.ignored)} ignored, 1 of the backbone keep their initial values')


def test_a_pyramid_keeps_its_initial_weights(save):
    backbone = vit(pyramid=True)
    report = load_pretrained(backbone, save(dino_bare().content))
    assert report.missing and all(name.startswith('pyramid.') for name in report.missing)


@pytest.mark.parametrize('release', [dino_bare, bam, mocov3, beit, beit_finetuned, dinov2])
def test_tables_resized_once_give_what_resizing_them_in_every_forward_gives(release, save):
    path = save(release().content)
    config = backbone_config(path)
    larger = MODELS.build(dict(config, img_size=2 * config['img_size'])).eval()
    report = load_pretrained(larger, path)
    tables = {name for name in larger.state_dict() if name == 'pos_embed' or name.endswith('position_bias_table')}
    assert set(report.resized) == tables
    if 'pos_embed' in tables:
        assert report.resized['pos_embed'] == ((1, 1 + GRID**2, DIM), (1, 1 + 4 * GRID**2, DIM))
    images = torch.randn(2, 3, 2 * GRID * PATCH, 2 * GRID * PATCH)
    torch.testing.assert_close(larger.features(images), load_backbone(path).features(images), rtol=1e-4, atol=1e-4)


def test_tables_in_half_precision_are_resized_in_single(save):
    weights = vit_weights()
    half = {name: tensor.half() for name, tensor in weights.items()}
    exact, rounded = (vit(img_size=64) for _ in range(2))
    load_pretrained(exact, save({name: tensor.float() for name, tensor in half.items()}))
    load_pretrained(rounded, save(half))
    assert rounded.pos_embed.dtype == torch.float32
    assert torch.equal(rounded.pos_embed, exact.pos_embed.half().float())


@pytest.mark.parametrize('options, message', [
    (dict(arch=sizes(depth=3)), 'depth is 2 in the file and 3 in the backbone'),
    (dict(arch=sizes(embed_dim=96)), 'embed_dim is 192 in the file and 96 in the backbone'),
    (dict(patch_size=16), 'patch_size is 8 in the file and 16 in the backbone'),
    (dict(mlp_ratio=2), 'mlp_ratio is 4.0 in the file and 2.0 in the backbone'),
    (dict(class_token=False), 'class_token is True in the file and False in the backbone'),
    (dict(final_norm=False), 'final_norm is True in the file'),
    (dict(num_registers=4), 'num_registers is 0 in the file and 4'),
    (dict(layer_scale=0.1), 'layer_scale is False in the file'),
    (dict(relative_position=True), 'relative_position is False in the file'),
    (dict(position='sincos'), "has a table of positions and the backbone has none.*'learnable'"),
    (dict(position='none'), "has a table of positions and the backbone has none.*'learnable'"),
    (dict(arch=sizes(num_heads=12)), "num_heads=3 and the backbone has 12.*overrule=\\('num_heads', \\)"),
    (dict(position_rule='size'), "position_rule='dino' and the backbone has 'size'.*overrule"),
])
def test_another_backbone_is_refused_with_the_cause(options, message, save):
    backbone = vit(**options)
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    with pytest.raises(InputError, match=message):
        load_pretrained(backbone, save(dino_bare().content))
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())


def test_facts_that_no_shape_shows_can_be_overruled(save):
    path = save(mocov3().content)
    backbone = vit(position_rule='size')
    with pytest.raises(InputError, match='num_heads=12 and the backbone has 3'):
        load_pretrained(backbone, path)
    assert not load_pretrained(backbone, path, overrule=('num_heads', )).missing
    with pytest.raises(InputError, match='overrule names depth'):
        load_pretrained(backbone, path, overrule=('depth', ))
    assert backbone_config(path)['arch']['num_heads'] == 12
    assert backbone_config(path, layout='dino')['arch']['num_heads'] == 3
    with pytest.raises(InputError, match="unknown layout 'dinov9'"):
        read_pretrained(path, layout='dinov9')


def test_fixed_positions(save):
    """A stored table that equals the backbone's own is not needed; where a run stored none, none is made up."""
    mae, moco, run = (save(release().content, f'{release.__name__}.pth') for release in (mae_bare, mocov3, mmdssl_run))
    report = load_pretrained(vit(position='sincos'), mae)
    assert report.ignored == dict() | {'model.pos_embed': 'equals the fixed positions of the backbone'}
    with pytest.raises(InputError, match="its fixed ones are others.*'learnable'"):
        load_pretrained(vit(position='sincos', arch=sizes(num_heads=12)), moco)
    with pytest.raises(InputError, match="position='sincos' and the backbone position='learnable'"):
        load_pretrained(vit(arch=sizes(num_heads=2)), run)
    with pytest.raises(InputError, match="position='sincos' and the backbone position='none'"):
        load_pretrained(vit(arch=sizes(num_heads=2), position='none'), run)
    with pytest.raises(InputError, match='img_size=32 and the backbone has 64'):
        load_pretrained(vit(arch=sizes(num_heads=2), position='sincos', img_size=64), run)


def test_another_kind_of_network_is_refused(save):
    from mmdet.registry import MODELS as MMDET_MODELS
    resnet = MMDET_MODELS.build(dict(type='mmdet.ResNet', depth=50, base_channels=4, stem_channels=4))
    transformer, residual = save(dino_bare().content), save(resnet_weights(), 'resnet.pth')
    with pytest.raises(InputError, match='holds a mmdssl.VisionTransformer, which is another kind of network'):
        load_pretrained(resnet, transformer)
    with pytest.raises(InputError, match='holds a mmdet.ResNet, which is another kind of network'):
        load_pretrained(vit(), residual)
    wide = MMDET_MODELS.build(dict(type='mmdet.ResNet', depth=50, base_channels=8, stem_channels=8))
    with pytest.raises(InputError, match=r'have another shape \(conv1.weight \(4, 3, 7, 7\) for \(8, 3, 7, 7\)'):
        load_pretrained(wide, residual)
    deep = MMDET_MODELS.build(dict(type='mmdet.ResNet', depth=101, base_channels=4, stem_channels=4))
    with pytest.raises(InputError, match=r'are missing \(layer3.6.conv1.weight.*depth=50'):
        load_pretrained(deep, residual)
    caffe = MMDET_MODELS.build(dict(type='mmdet.ResNet', depth=50, base_channels=4, stem_channels=4, style='caffe'))
    with pytest.raises(InputError, match="style='pytorch' and the backbone has 'caffe'"):
        load_pretrained(caffe, residual)


def test_a_whole_detector_in_place_of_its_backbone(save):
    with pytest.raises(InputError, match="backbone in 'backbone.': load into that"):
        load_pretrained(nn.ModuleDict(dict(backbone=vit(), neck=nn.Linear(2, 2))), save(dino_bare().content))


@pytest.mark.parametrize('names, message', [
    (['my.net.weight'], r'no vision transformer or ResNet that is known \(my.net.weight\)'),
    (['patch_embed.proj.weight', 'layers.0.blocks.0.attn.qkv.weight'], 'Swin'),
    (['patch_embed.proj.weight', 'blocks.0.mlp.norm.weight'], 'EVA-02, whose MLPs and rotary'),
    (['patch_embed.proj.weight', 'dist_token'], 'distillation token'),
    (['vision_model.encoder.layers.0.self_attn.k_proj.weight'], "CLIP and SigLIP in other names than timm's"),
    (['embeddings.patch_embeddings.proj.weight'], 'V-JEPA, a network of videos'),
    (['patch_embed.proj.weight', 'blocks.0.attn.q_norm.weight'], 'query-key norms'),
    (['backbone.patch_embed.projection.weight', 'backbone.layers.0.ln1.weight'], 'mmpretrain'),
    (['distilled.cls_token', 'embeddings.patch_embeddings.projection.weight', 'embeddings.distillation_token'],
     'distillation token'),
    (['stem.0.weight', 'stages.0.0.weight', 'stages.1.0.weight'], 'no vision transformer or ResNet that is known'),
    (['layer1.0.conv1.weight', 'conv1.0.weight'], r'ResNets with a deep stem cannot be loaded \(it has conv1.0.weight'),
    (['a.patch_embed.proj.weight', 'b.patch_embed.proj.weight'], 'several networks, a., b.'),
])
def test_what_cannot_be_loaded_is_refused_by_name(names, message, save):
    with pytest.raises(InputError, match=message):
        read_pretrained(save({name: torch.ones(8, 3, 2, 2) for name in names}))


def test_a_network_whose_stages_grow_is_hierarchical(save):
    with pytest.raises(InputError, match=r'hierarchical networks cannot be loaded \(the stages of this one are 8, 16 wide\)'):
        read_pretrained(save({f'net.stages.{i}.{name}.weight': torch.ones(8 * (1 + i), 2) for i in range(2) for name in 'ab'}))


def test_a_vision_transformer_of_mmseg_is_refused_by_name(save):
    text = "model = dict(backbone=dict(type='VisionTransformer', img_size=512))"
    weights = {'backbone.patch_embed.projection.weight': torch.ones(2), 'backbone.layers.0.ln1.weight': torch.ones(2)}
    with pytest.raises(InputError, match="mmseg's own vision transformers"):
        read_pretrained(save(dict(state_dict=weights, meta=dict(cfg=text))))


def test_incomplete_files_are_refused(save, tmp_path):
    weights = vit_weights()
    del weights['pos_embed']
    with pytest.raises(InputError, match="has no positions and no config.*layout='mmdssl'"):
        read_pretrained(save(weights))
    assert read_pretrained(save(weights), layout='mmdssl').config['position'] == 'sincos'
    with pytest.raises(InputError, match='has 20 positions, which are no square grid and a class token'):
        read_pretrained(save(dict(vit_weights(), pos_embed=torch.ones(1, 20, DIM))))
    convert_checkpoint(save(dino_bare().content), tmp_path / 'model.pth', 'huggingface')
    state = torch.load(tmp_path / 'model.pth')
    for kind in ('weight', 'bias'):
        lacking = {name: tensor for name, tensor in state.items() if f'0.attention.attention.value.{kind}' not in name}
        torch.save(lacking, tmp_path / 'model.pth')
        with pytest.raises(InputError, match=rf'are missing \(blocks.0.attn.qkv.{kind}\)'):
            load_backbone(tmp_path / 'model.pth')


def test_a_width_that_tells_no_heads(save):
    path = save(vit_weights(dim=48))
    with pytest.raises(InputError, match='does not tell how many heads its network of width 48 has'):
        backbone_config(path)
    load_pretrained(vit(arch=sizes(embed_dim=48)), path)


class Evil:

    def __reduce__(self):
        return exec, ('import builtins; builtins.harmed = True',)


def test_unsafe_and_damaged_files_are_refused(save, tmp_path):
    with pytest.raises(InputError, match='exec'):
        read_pretrained(save(dict(dino().content, extra=Evil())))
    text = "model = dict(backbone=dict(type='VisionTransformer', arch=setattr(__import__('builtins'), 'harmed', 1)))"
    assert read_pretrained(save(dict(state_dict=vit_weights(), meta=dict(cfg=text)))).layout == 'dino'
    assert not hasattr(builtins, 'harmed')
    path = save(dino().content)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(InputError, match='cut short'):
        read_pretrained(path)
    path = tmp_path / 'file.safetensors'
    save_file(vit_weights(), path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(InputError, match='cut short'):
        read_pretrained(path)
    for missing in ('none.pth', 'none.safetensors'):
        with pytest.raises(InputError, match='does not exist'):
            read_pretrained(tmp_path / missing)
    with pytest.raises(InputError, match='holds a list'):
        read_pretrained(save([torch.ones(2)]))


def test_into_timms_own_models(save):
    options = dict(img_size=GRID * PATCH, patch_size=PATCH, embed_dim=DIM, depth=DEPTH, num_heads=3, num_classes=0)
    images = torch.randn(2, 3, GRID * PATCH, GRID * PATCH)
    path = save(dino_bare().content)
    expected = load_backbone(path).forward_tokens(images)
    model = timm.models.VisionTransformer(**options).eval()
    load_pretrained(model, path)
    torch.testing.assert_close(model.forward_features(images)[:, 1:], expected.patches, rtol=1e-4, atol=1e-4)
    without_slot = timm.models.VisionTransformer(**options, no_embed_class=True).eval()
    load_pretrained(without_slot, path)
    torch.testing.assert_close(without_slot.forward_features(images)[:, 0], expected.cls, rtol=1e-4, atol=1e-4)
    with pytest.raises(InputError, match=r'are missing \(head.weight, head.bias\)'):
        load_pretrained(timm.models.VisionTransformer(**{**options, 'num_classes': 5}), path)
    with pytest.raises(InputError, match='num_heads=3 and the backbone has 12'):
        load_pretrained(timm.models.VisionTransformer(**{**options, 'num_heads': 12}), path)


@pytest.fixture
def said(monkeypatch) -> list[str]:
    """What was logged."""
    messages = []
    monkeypatch.setattr(pretrained, 'print_log', lambda message, **_: messages.append(message))
    return messages


@pytest.mark.parametrize('scope', ['mmdssl', 'mmdet', 'mmseg'])
def test_init_cfg_in_any_scope(scope, save, said):
    from mmdet.registry import MODELS as MMDET_MODELS
    from mmseg.registry import MODELS as MMSEG_MODELS
    path = str(save(dino().content))
    init_cfg = dict(type='SSLPretrained', checkpoint=path, network='student')
    config = dict(backbone_config(path), pyramid=True, init_cfg=init_cfg)
    with DefaultScope.overwrite_default_scope(scope):
        backbone = dict(mmdssl=MODELS, mmdet=MMDET_MODELS, mmseg=MMSEG_MODELS)[scope].build(config)
        backbone.init_weights()
        assert len(said) == 1 and 'layout dino (student.module.backbone.*)' in said[0]
        assert torch.equal(backbone.cls_token, vit_weights(seed=1)['cls_token'])
        backbone.init_weights()
    assert len(said) == 1, 'the weights were loaded twice'


def test_another_normalisation_than_that_of_natural_images_is_said(save, said):
    path = save(dino_bare().content)
    path.with_name('preprocessor_config.json').write_text('{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}')
    vit(init_cfg=dict(type='SSLPretrained', checkpoint=str(path))).init_weights()
    assert "{'mean': [127.5, 127.5, 127.5], 'std': [127.5, 127.5, 127.5]} (of 0 to 255)" in said[1]


class Part(BaseModule):
    """A module that would set its weight to 5."""

    def __init__(self):
        super().__init__(dict(type='Constant', val=5., layer='Linear'))
        self.linear = nn.Linear(2, 2)


def test_children_do_not_overwrite_what_was_loaded(save, said):
    """MMEngine initialises children after their parent, and mmdet's residual blocks set their last norms to zero."""
    from mmdet.registry import MODELS as MMDET_MODELS
    path = str(save(dict(state_dict=behind('module.encoder_q.', resnet_weights()))))

    class Detector(BaseModule):

        def __init__(self):
            super().__init__()
            self.backbone = MMDET_MODELS.build(dict(type='mmdet.ResNet', depth=50, base_channels=4, stem_channels=4))
            assert self.backbone.layer1[0].init_cfg is not None
            self.backbone.init_cfg = dict(type='SSLPretrained', checkpoint=path)
            self.neck = Part()

    detector = Detector()
    detector.init_weights()
    state = detector.backbone.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in resnet_weights().items())
    assert (detector.neck.linear.weight == 5).all(), 'other modules are initialised as ever'


def test_what_was_not_loaded_is_initialised(save):
    backbone = vit(init_cfg=dict(type='SSLPretrained', checkpoint=str(save(dino_bare().content))))
    backbone.pyramid = Part()
    backbone.init_weights()
    assert (backbone.pyramid.linear.weight == 5).all()
    assert torch.equal(backbone.cls_token, vit_weights()['cls_token'])


def test_a_wrong_checkpoint_stops_init_weights(save):
    backbone = vit(init_cfg=dict(type='SSLPretrained', checkpoint=str(save(mocov3().content))))
    with pytest.raises(InputError, match='num_heads'):
        backbone.init_weights()
    backbone.init_cfg.update(overrule=['num_heads', 'position_rule'])
    backbone.init_weights()
    assert torch.equal(backbone.cls_token, vit_weights()['cls_token'])


def test_config_of_a_backbone(save):
    path = save(dinov2().content)
    expected = dict(type='mmdssl.VisionTransformer', arch=sizes(), patch_size=8, img_size=32, position_rule='dino',
                    mask_token=True, layer_scale=1e-5)
    assert backbone_config(path) == backbone_config(read_pretrained(path)) == expected
    assert backbone_config(save(mmdssl_run().content, 'run.pth')) == dict(
        type='mmdssl.VisionTransformer', arch=sizes(num_heads=2), patch_size=8, img_size=32, position='sincos',
        mask_token=True)


def test_a_config_beside_a_file_of_hugging_face(save, tmp_path):
    convert_checkpoint(save(mocov3().content), tmp_path / 'model.pth', 'huggingface')
    assert backbone_config(tmp_path / 'model.pth')['arch']['num_heads'] == 12
    for text, heads in (('{"hidden_size": 192, "num_attention_heads": 6}', 6),
                        ('{"hidden_size": 48, "num_attention_heads": 6}', 3), ('{"hidden', 3)):
        (tmp_path / 'config.json').write_text(text)
        assert backbone_config(tmp_path / 'model.pth')['arch']['num_heads'] == heads, 'only that of this network counts'
    (tmp_path / 'config.json').write_text('{"hidden_size": 192, "num_attention_heads": 6}')
    assert backbone_config(save(dino_bare().content))['arch']['num_heads'] == 3, 'another file in the folder'
    (tmp_path / 'config.json').write_text('{"hidden_size": 192, "hidden_act": "quick_gelu"}')
    with pytest.raises(InputError, match='use quick_gelu'):
        read_pretrained(tmp_path / 'model.pth')
