"""Child registries, scope ``mmdssl``, of MMEngine's root registries.

A downstream project writes ``custom_imports = dict(imports=['mmdssl'])`` and then ``type='mmdssl.VisionTransformer'``. MMEngine finds
this module by the scope's name, and a registry imports all that is registered when something is first looked up in it.
"""
from mmengine import registry as root

from mmdssl.arguments import checked


class Registry(root.Registry):
    """MMEngine's, whose classes check what they are given, see :mod:`mmdssl.arguments`."""

    def _register_module(self, module: type, *args, **kwargs) -> None:
        if module.__module__.partition('.')[0] != __package__:
            self.import_from_location()  # so that what others replace by force is there
        super()._register_module(checked(module) if isinstance(module, type) else module, *args, **kwargs)

    @property
    def module_dict(self) -> dict:
        self.import_from_location()
        return super().module_dict


_ROOMS = 'datasets.contents', 'datasets.transforms.contents', 'engine', 'models', 'protocols'
_LOCATIONS = dict(locations=[f'mmdssl.{room}' for room in _ROOMS], scope='mmdssl')

DATASETS = Registry('dataset', parent=root.DATASETS, **_LOCATIONS)
DATA_SAMPLERS = Registry('data sampler', parent=root.DATA_SAMPLERS, **_LOCATIONS)
FUNCTIONS = Registry('function', parent=root.FUNCTIONS, **_LOCATIONS)
HOOKS = Registry('hook', parent=root.HOOKS, **_LOCATIONS)
LOG_PROCESSORS = Registry('log processor', parent=root.LOG_PROCESSORS, **_LOCATIONS)
LOOPS = Registry('loop', parent=root.LOOPS, **_LOCATIONS)
MODEL_WRAPPERS = Registry('model wrapper', parent=root.MODEL_WRAPPERS, **_LOCATIONS)
METRICS = Registry('metric', parent=root.METRICS, **_LOCATIONS)
MODELS = Registry('model', parent=root.MODELS, **_LOCATIONS)
OPTIM_WRAPPERS = Registry('optimizer wrapper', parent=root.OPTIM_WRAPPERS, **_LOCATIONS)
OPTIM_WRAPPER_CONSTRUCTORS = Registry('optimizer wrapper constructor', parent=root.OPTIM_WRAPPER_CONSTRUCTORS, **_LOCATIONS)
OPTIMIZERS = Registry('optimizer', parent=root.OPTIMIZERS, **_LOCATIONS)
PARAM_SCHEDULERS = Registry('parameter scheduler', parent=root.PARAM_SCHEDULERS, **_LOCATIONS)
RUNNERS = Registry('runner', parent=root.RUNNERS, **_LOCATIONS)
TRANSFORMS = Registry('transform', parent=root.TRANSFORMS, **_LOCATIONS)
VISBACKENDS = Registry('visualization backend', parent=root.VISBACKENDS, **_LOCATIONS)
VISUALIZERS = Registry('visualizer', parent=root.VISUALIZERS, **_LOCATIONS)
WEIGHT_INITIALIZERS = Registry('weight initializer', parent=root.WEIGHT_INITIALIZERS, **_LOCATIONS)
