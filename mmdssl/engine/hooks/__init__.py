from .algorithm_hook import AlgorithmHook
from .checkpoint_hook import CheckpointHook
from .collapse_hook import CollapseHook
from .contrastive_crop_hook import ContrastiveCropHook
from .data_check_hook import DataCheckHook
from .export_backbone_hook import ExportBackboneHook
from .position_free_hook import PositionFreeHook
from .progress_hook import ProgressHook
from .record_hook import RecordHook
from .report_hook import ReportHook
from .runtime_info_hook import RuntimeInfoHook
from .shared_memory_hook import SharedMemoryHook
from .skipped_images_hook import SkippedImagesHook
from .stop_hook import StopHook
from .visualize_hook import VisualizeHook

__all__ = ['AlgorithmHook', 'CheckpointHook', 'CollapseHook', 'ContrastiveCropHook', 'DataCheckHook',
           'ExportBackboneHook', 'PositionFreeHook', 'ProgressHook', 'RecordHook', 'ReportHook', 'RuntimeInfoHook', 'SharedMemoryHook',
           'SkippedImagesHook', 'StopHook', 'VisualizeHook']
