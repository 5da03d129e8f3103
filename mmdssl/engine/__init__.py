from . import hooks
from .classification import ClassificationLoop
from .lars import LARC, LARS
from .log_processor import LogProcessor
from .loops import ProtocolLoop, TrainLoop
from .optim_constructor import OptimWrapperConstructor
from .optim_wrapper import OptimWrapper
from .runner import Runner
from .segmentation import SegmentationLoop
from .vis_backend import ScalarsVisBackend

__all__ = ['LARC', 'LARS', 'ClassificationLoop', 'LogProcessor', 'OptimWrapper', 'OptimWrapperConstructor', 'ProtocolLoop', 'Runner',
           'ScalarsVisBackend', 'SegmentationLoop', 'TrainLoop', 'hooks']
