"""Files of timm's networks: what our runs write comes back, and plain ResNets fit wherever their names do."""
from __future__ import annotations

import pytest
import timm
import torch

from mmdssl.checkpoint import backbone_config, convert_checkpoint, load_backbone, load_pretrained, read_pretrained, save_backbone
from mmdssl.errors import InputError
from mmdssl.registry import MODELS

THIN = dict(layers=(1, 1, 1, 1), channels=(8, 8, 8, 8))
NETWORKS = {
    'resnet': dict(name='resnet18', model_args=THIN, stem_stride=2),
    'small images': dict(name='resnet18', model_args=THIN, stem_stride=1, stem_kernel=3),
    'branches': dict(name='resnet18', model_args=THIN, branches=3),
    'caformer': dict(name='caformer', model_args=dict(depths=(1, 1, 1, 1), dims=(8, 8, 32, 32))),
    'vit': dict(name='vit_tiny_patch16_224', model_args=dict(img_size=32, depth=1, reg_tokens=2)),
    'swin': dict(name='swin_tiny_patch4_window7_224',
                 model_args=dict(img_size=32, embed_dim=12, depths=(1, 1, 1, 1), window_size=1)),
    'cait': dict(name='cait_xxs24_224', model_args=dict(img_size=32, depth=1)),  # its gammas have names of our layer scales' past
}


@pytest.fixture(params=NETWORKS.values(), ids=list(NETWORKS))
def case(request):
    """A config that trained, with what it decided besides the network, and its backbone."""
    config = dict(request.param, type='TimmBackbone')
    return dict(config, drop_path_rate=0.1), MODELS.build(config).eval()


def assert_same(loaded, backbone) -> None:
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded.features(images), backbone.features(images))


def test_exported_backbones_come_back(case, tmp_path):
    config, backbone = case
    save_backbone(backbone, tmp_path / 'b.safetensors', config)
    assert_same(load_backbone(tmp_path / 'b.safetensors'), backbone)
    assert set(backbone_config(tmp_path / 'b.safetensors')) == set(config) - {'drop_path_rate'}


def test_runs_hold_teacher_and_student(case, tmp_path):
    config, backbone = case
    student = MODELS.build({key: value for key, value in config.items() if key != 'drop_path_rate'}).eval()
    state = {f'{role}.backbone.{name}': tensor for role, network in dict(teacher=backbone, student=student).items()
             for name, tensor in network.state_dict().items()}
    text = f'model = dict(type="DINO", backbone={config})'
    torch.save(dict(state_dict=dict(state, other=torch.ones(1)), meta=dict(cfg=text)), tmp_path / 'run.pth')
    assert_same(load_backbone(tmp_path / 'run.pth'), backbone)
    assert_same(load_backbone(tmp_path / 'run.pth', network='student'), student)


def test_timms_form_comes_back_and_fits_timm(case, tmp_path):
    config, backbone = case
    save_backbone(backbone, tmp_path / 'b.safetensors', config)
    for file in ('timm.pth', 'timm.safetensors'):
        assert not convert_checkpoint(tmp_path / 'b.safetensors', tmp_path / file, 'timm').left_out
        assert_same(load_backbone(tmp_path / file), backbone)
    state = read_pretrained(tmp_path / 'timm.pth').state
    assert set(state) == set(backbone.network.state_dict())
    with pytest.raises(InputError, match='needs a vision transformer'):
        convert_checkpoint(tmp_path / 'b.safetensors', tmp_path / 'model.safetensors', 'huggingface')


def test_weights_of_another_network_are_refused(case, tmp_path):
    config, backbone = case
    save_backbone(backbone, tmp_path / 'b.safetensors', config)
    other = MODELS.build(dict(type='TimmBackbone', name='resnet26'))
    with pytest.raises(InputError, match='does not fit'):
        load_pretrained(other, tmp_path / 'b.safetensors')


def test_init_cfg_loads_and_stays(case, tmp_path):
    config, backbone = case
    save_backbone(backbone, tmp_path / 'b.safetensors', config)
    init = dict(type='SSLPretrained', checkpoint=str(tmp_path / 'b.safetensors'))
    loaded = MODELS.build(dict(config, init_cfg=init))
    loaded.init_weights()
    assert_same(loaded.eval(), backbone)


def test_a_plain_resnet_goes_where_torchvisions_names_are(tmp_path):
    """From a run with timm's into mmdet's, and from a file of torchvision's names into timm's."""
    config = dict(type='TimmBackbone', name='resnet18')
    backbone = MODELS.build(config).eval()
    save_backbone(backbone, tmp_path / 'b.safetensors', config)
    detector = MODELS.build(dict(type='mmdet.ResNet', depth=18))
    detector.eval()
    report = load_pretrained(detector, tmp_path / 'b.safetensors')
    assert not report.ignored and not report.missing
    images = torch.randn(2, 3, 64, 64)
    maps = backbone.network.forward_intermediates(images, [1, 2, 3, 4], intermediates_only=True)
    for found, expected in zip(detector(images), maps, strict=True):
        torch.testing.assert_close(found, expected)

    torch.save(timm.create_model('resnet18').state_dict(), tmp_path / 'torchvision.pth')
    report = load_pretrained(backbone, tmp_path / 'torchvision.pth')
    assert set(report.ignored) == {'fc.weight', 'fc.bias'} and not report.missing
    assert torch.equal(backbone.network.conv1.weight, torch.load(tmp_path / 'torchvision.pth')['conv1.weight'])


def test_a_vit_of_timms_file_is_resized_to_the_frame(tmp_path):
    torch.save(timm.create_model('vit_tiny_patch16_224', depth=1).state_dict(), tmp_path / 'vit.pth')
    backbone = MODELS.build(dict(type='TimmBackbone', name='vit_tiny_patch16_224', model_args=dict(depth=1, img_size=64)))
    report = load_pretrained(backbone, tmp_path / 'vit.pth')
    assert report.resized == dict(pos_embed=((1, 197, 192), (1, 17, 192)))
