"""What ``import mmdssl`` does: nothing that takes time, and all that other projects need."""
from __future__ import annotations

import subprocess
import sys

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS, WEIGHT_INITIALIZERS

import mmdssl
from mmdssl.checkpoint import SSLPretrained
from mmdssl.home import HOME
from mmdssl.registry import MODELS as OURS
from mmdssl.registry import Registry

# What a project on MMEngine may do in a new process; asserts say what it relies on.
PROJECT = """
import sys
import mmdssl
assert not {'torch', 'mmengine', 'mmdssl.registry'} & set(sys.modules)

from mmengine.config import Config
from mmengine.registry import MODELS, WEIGHT_INITIALIZERS, Registry
cfg = Config.fromfile('project.py')
assert cfg.model.type == 'PQCL' and cfg.train_cfg.max_epochs == 7

child = Registry('model', parent=MODELS, scope='project', locations=['sys'])
assert 'mmdssl.models' not in sys.modules
assert child.get('mmdssl.PQCL').__name__ == 'PQCL'  # from another project's registry, with ours in front

initializers = Registry('initializer', parent=WEIGHT_INITIALIZERS, scope='project', locations=['sys'])
assert initializers.build(dict(type='SSLPretrained', checkpoint='a.pth')).checkpoint == 'a.pth'  # without

assert 'mmdet' not in sys.modules and 'mmseg' not in sys.modules
print('all of it')
"""


def test_a_project_finds_our_components_and_configs_after_nothing_but_the_import(tmp_path):
    (tmp_path / 'project.py').write_text("_base_ = 'mmdssl::small/pqcl.py'\ncustom_imports = dict(imports=['mmdssl'])\n"
                                         'train_cfg = dict(max_epochs=7)\n')
    done = subprocess.run([sys.executable, '-c', PROJECT], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == 'all of it\n', done.stderr


def test_configs_of_the_package_are_bases_of_others(tmp_path):
    file = tmp_path / 'mine.py'
    file.write_text("_base_ = 'mmdssl::pretrain/pqcl.py'\n")
    plain, inherited = (Config.fromfile(path).model for path in (HOME / 'configs/pretrain/pqcl.py', file))
    assert inherited.pop('_scope_') == 'mmdssl'
    assert inherited == plain


def test_our_initializer_is_in_the_registry_of_all_projects():
    assert WEIGHT_INITIALIZERS.get('SSLPretrained') is SSLPretrained


def test_an_attribute_that_is_no_part_of_the_package_is_an_error():
    assert mmdssl.protocols.__name__ == 'mmdssl.protocols'
    with pytest.raises(AttributeError, match="module 'mmdssl' has no attribute 'nothing'"):
        _ = mmdssl.nothing


def test_others_replace_a_component_after_it_is_there(tmp_path, monkeypatch, lazy):
    (tmp_path / 'lazy_parts.py').write_text('import sys\n'
                                            'sys.modules["lazy_registry"].register_module(name="Part", module=dict)\n')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, 'lazy_registry', lazy('lazy_parts'))

    class Part:
        pass
    sys.modules['lazy_registry'].register_module(module=Part, force=True)
    assert sys.modules['lazy_registry'].get('Part') is Part


def test_a_registry_that_is_looked_into_has_everything(lazy):
    registry = lazy('this')
    assert not registry._imported
    assert not registry.module_dict
    assert registry._imported
    assert 'PQCL' in OURS.module_dict


@pytest.fixture
def lazy():
    """Function that makes a registry, below MMEngine's, of what a module registers."""
    yield lambda location: Registry('model', parent=MODELS, scope='mmdssl_test', locations=[location])
    MODELS.children.pop('mmdssl_test')
