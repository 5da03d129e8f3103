from . import hooks
from .classification import ClassificationLoop
from .lars import LARC, LARS
from .log_processor import LogProcessor
from .loops import KNNLoop, TrainLoop
from .optim_constructor import OptimWrapperConstructor
from .optim_wrapper import OptimWrapper
from .runner import Runner

__all__ = ['LARC', 'LARS', 'ClassificationLoop', 'KNNLoop', 'LogProcessor', 'OptimWrapper', 'OptimWrapperConstructor', 'Runner', 'TrainLoop',
           'hooks']
