from . import hooks
from .lars import LARC, LARS
from .log_processor import LogProcessor
from .loops import KNNLoop, TrainLoop
from .optim_constructor import OptimWrapperConstructor
from .optim_wrapper import OptimWrapper
from .runner import Runner
from .vis_backend import ScalarsVisBackend

__all__ = ['LARC', 'LARS', 'KNNLoop', 'LogProcessor', 'OptimWrapper', 'OptimWrapperConstructor', 'Runner', 'ScalarsVisBackend', 'TrainLoop',
           'hooks']
