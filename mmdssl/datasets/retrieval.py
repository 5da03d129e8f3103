"""Images and ground truth of the revisited Oxford and Paris data sets."""
from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from mmengine.dataset import BaseDataset
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

from mmdssl.arguments import PositiveInt
from mmdssl.datasets.images import read_rgb
from mmdssl.errors import InputError
from mmdssl.registry import DATASETS

GROUPS = ('easy', 'hard', 'junk')
# What pickles of arrays name, in any version of numpy; in which of its modules it is has changed.
OF_NUMPY = dict(ndarray=np.ndarray, dtype=np.dtype, _reconstruct=np.array(0).__reduce__()[0], scalar=np.float64(0).__reduce__()[0],
                _frombuffer=np.array([0]).__reduce_ex__(5)[0])


@DATASETS.register_module()
class RevisitedDataset(BaseDataset):
    """The database and then the queries of ROxford5k or RParis6k (Radenovic et al., CVPR 2018), whole images.

    An item is ``dict(image=(3, h, w) uint8 RGB, index=int)``, shrunk so that neither side is longer than ``size``; images cannot be
    stacked: use ``collate_fn=dict(type='mmdssl.list_samples')``. ``metainfo`` has ``num_database`` and ``truth``, of each query the
    database's positions that are ``easy``, ``hard`` and ``junk``.

    Args:
        data_root: Folder with ``<name>/jpg/*.jpg`` and ``<name>/gnd_<name>.pkl``, or ``.json`` with the same content.
        name: ``'roxford5k'`` or ``'rparis6k'``.
        size: See above.

    Raises:
        InputError: Ground truth or images are missing or cannot be used.
    """

    def __init__(self, data_root: str, name: Literal['roxford5k', 'rparis6k'] = 'roxford5k', size: PositiveInt = 224):
        self.name = name
        self.size = size
        super().__init__(data_root=data_root)

    def load_data_list(self) -> list[dict]:
        folder = Path(self.data_root, self.name)
        files = [folder / f'gnd_{self.name}.{kind}' for kind in ('pkl', 'json')]
        found = [file for file in files if file.is_file()]
        if not found:
            raise InputError(f"'{files[0]}' does not exist, nor the same with .json: set data_root to the folder that holds {self.name}/"
                             f'gnd_{self.name}.pkl and {self.name}/jpg')
        ground_truth = read_ground_truth(found[0])
        names = [*ground_truth['imlist'], *ground_truth['qimlist']]
        paths = [folder / 'jpg' / f'{name}.jpg' for name in names]
        missing = [path for path in paths if not path.is_file()]
        if missing:
            raise InputError(f"{len(missing)} of the {len(paths)} images named in '{found[0]}' do not exist, first '{missing[0]}': "
                             'complete the copy')
        truth = [{group: list(map(int, query[group])) for group in GROUPS} for query in ground_truth['gnd']]
        self._metainfo.update(num_database=len(ground_truth['imlist']), truth=truth)
        return [dict(img_path=str(path)) for path in paths]

    def __getitem__(self, index: int) -> dict:
        path = self.get_data_info(index)['img_path']
        image = read_rgb(path)
        if image is None:
            raise InputError(f"'{path}' cannot be decoded: copy it again, a score without it would be of other data")
        image.thumbnail((self.size, self.size), Image.Resampling.LANCZOS)
        return dict(image=pil_to_tensor(image), index=index)


def read_ground_truth(path: str | Path) -> dict[str, Any]:
    """``imlist`` and ``qimlist``, names of images, and ``gnd``, of each query ``dict(easy, hard, junk)`` of positions in ``imlist``.

    A pickle may hold nothing but containers, numbers, texts and arrays: nothing else that it names is looked up or called.

    Args:
        path: A ``.pkl`` or ``.json``.

    Raises:
        InputError: It is no such file.
    """
    try:
        with open(path, 'rb') as file:
            found = json.load(file) if str(path).endswith('.json') else PlainUnpickler(file).load()
    except Exception as error:  # a broken pickle raises almost anything
        raise InputError(f"'{path}' cannot be read ({type(error).__name__}: {error}): get the ground truth again") from None
    wrong = _what_is_wrong(found)
    if wrong:
        raise InputError(f"'{path}' is no ground truth of a retrieval data set, {wrong}: get it again")
    return found


def _what_is_wrong(found: Any) -> str | None:
    if not isinstance(found, Mapping) or not {'imlist', 'qimlist', 'gnd'} <= set(found):
        return 'which has imlist, qimlist and gnd'
    if len(found['gnd']) != len(found['qimlist']):
        return f'it has {len(found["qimlist"])} queries and truth for {len(found["gnd"])}'
    for query in found['gnd']:
        if not isinstance(query, Mapping) or not set(GROUPS) <= set(query):
            return 'of which each query has easy, hard and junk'
        positions = np.concatenate([np.asarray(query[group], dtype=float) for group in GROUPS])
        if len(positions) and not (positions.min() >= 0 and positions.max() < len(found['imlist'])):
            return f'it names images beyond the {len(found["imlist"])} of the database'
    return None


class PlainUnpickler(pickle.Unpickler):
    """Reads containers, numbers, texts and numpy's arrays, those of Python 2 too, and refuses the rest.

    Raises:
        pickle.UnpicklingError: There is something else, such as a function that would be called.
    """

    def __init__(self, file: BinaryIO):
        super().__init__(file, encoding='latin1')

    def find_class(self, module: str, name: str) -> Any:
        if module == '_codecs' and name == 'encode':
            return _encode
        if module.partition('.')[0] != 'numpy' or name not in OF_NUMPY:
            raise pickle.UnpicklingError(f'it names {module}.{name}, which ground truth does not need')
        return OF_NUMPY[name]


def _encode(text: str, encoding: str) -> bytes:
    """The bytes of a pickle in an old protocol; other codecs could unpack gigabytes."""
    if encoding != 'latin1':
        raise pickle.UnpicklingError(f'it has bytes in {encoding}')
    return text.encode('latin1')
