"""Videos of people with the positions of their joints."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from mmdssl.datasets.davis import Videos, read_frame
from mmdssl.datasets.lists import read_lines
from mmdssl.errors import InputError
from mmdssl.registry import DATASETS

FRAMES, JOINTS = 'Rename_Images', 'joint_positions'
TEST = '2'
LAYOUT = f'the folder of JHMDB, which holds {FRAMES}, {JOINTS} and splits'


@DATASETS.register_module()
class JHMDB(Videos):
    """Joint-annotated HMDB (Jhuang et al., ICCV 2013), the test clips of a split.

    An item is ``dict(name, frames, joints, size, frame_paths)``: frames ``(T, 3, h, w)`` uint8 RGB as the network sees them, joints
    ``(t, 15, 2)`` float64, x and y in pixels of the video from 0 at the centre of the first, of its first ``t`` frames, and ``size``, the
    height and width ``(H, W)`` of the video.

    Args:
        data_root: Folder with ``Rename_Images/<action>/<clip>/00001.png``, ``joint_positions/<action>/<clip>/joint_positions.mat`` and
            ``splits/<action>_test_split<number>.txt``, which name ``<clip>.avi`` and 1 for training or 2 for test.
        split: Number of the split.
        list_file: In place of the splits, a list as CRW and CropMAE have it, below ``data_root``: each line has the paths of a folder of
            frames and of its positions, of which the action and the clip count.
        **resize: Of :class:`Videos`.

    Raises:
        InputError: See :class:`Videos`.
    """

    def __init__(self, data_root: str, split: int = 1, list_file: str | None = None, **resize):
        self.split = split
        self.list_file = list_file
        super().__init__(data_root, **resize)

    def load_data_list(self) -> list[dict]:
        infos = []
        for action, clip in self._listed() if self.list_file else self._of_split():
            frames = self.find_frames(clip, Path(self.data_root, FRAMES, action, clip))
            positions = Path(self.data_root, JOINTS, action, clip, 'joint_positions.mat')
            if not positions.is_file():
                raise InputError(f"'{positions}' does not exist, the joints of a clip of '{self.source}': complete the data or take the "
                                 'clip off the list')
            infos.append(dict(name=f'{action}/{clip}', frame_paths=[str(path) for path in frames], joints_path=str(positions)))
        return infos

    def _of_split(self) -> Iterator[tuple[str, str]]:
        ending = f'_test_split{self.split}.txt'
        files = sorted(path for path in Path(self.data_root, 'splits').glob(f'*{ending}') if path.name[0] != '.')
        if not files:
            raise InputError(f"there is no '*{ending}' in '{Path(self.data_root, 'splits')}': set data_root to {LAYOUT}")
        self.source = files[0].parent
        found = [(path.name.removesuffix(ending), clip.removesuffix('.avi'))
                 for path in files for line in read_lines(path, 'clip', f'set data_root to {LAYOUT}')
                 for clip, *mark in [line.rsplit(maxsplit=1)] if mark == [TEST]]
        if not found:
            raise InputError(f"no line of the {len(files)} files '*{ending}' in '{self.source}' ends with {TEST}, which marks a clip for "
                             'test: copy the splits again')
        yield from found

    def _listed(self) -> Iterator[tuple[str, str]]:
        lines = self.names_in(Path(self.data_root, self.list_file), LAYOUT)
        folders = [Path(word).parts for line in lines for word in line.split() if FRAMES in Path(word).parts]
        if not folders or any(len(parts) < parts.index(FRAMES) + 3 for parts in folders):
            raise InputError(f"'{self.source}' does not name clips as {FRAMES}/<action>/<clip>: set list_file to a list of JHMDB")
        for parts in folders:
            place = parts.index(FRAMES)
            yield parts[place + 1], parts[place + 2]

    def __getitem__(self, index: int) -> dict:
        info = self.get_data_info(index)
        joints = read_joints(info['joints_path'])
        if len(joints) > len(info['frame_paths']):
            raise InputError(f"'{info['joints_path']}' has joints of {len(joints)} frames, but its clip has {len(info['frame_paths'])}: "
                             'complete the frames')
        size = read_frame(info['frame_paths'][0]).shape[:2]
        return dict(name=info['name'], frames=self.read_frames(info['frame_paths'], size), joints=joints, size=size,
                    frame_paths=info['frame_paths'])


def read_joints(path: str | Path) -> np.ndarray:
    """Positions ``(T, J, 2)`` float64, x and y in pixels from 0, of a ``joint_positions.mat``, which counts them from 1.

    Raises:
        InputError: It cannot be read, or has no positions.
    """
    try:
        positions = loadmat(path, variable_names=['pos_img'])['pos_img'].astype(np.float64)
    except KeyError:
        raise InputError(f"'{path}' has no 'pos_img', the positions in pixels: copy the joints of JHMDB again") from None
    except Exception as error:  # on broken data, loadmat raises almost anything
        raise InputError(f"'{path}' cannot be read ({error}): copy it again") from None
    if positions.ndim != 3 or len(positions) != 2 or not positions.size:
        raise InputError(f"'pos_img' in '{path}' has the shape {positions.shape}, not that of x and y of joints in frames (2, joints, "
                         'frames): copy the joints of JHMDB again')
    return positions.transpose(2, 1, 0) - 1
