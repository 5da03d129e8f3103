"""The files of ``golden/``, and the measure by which they are compared."""
from __future__ import annotations

import json
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

GOLDEN = Path(__file__).parent / 'golden'


class Golden:
    """Tensors of a file by name, and its config."""

    def __init__(self, name: str):
        with safe_open(GOLDEN / f'{name}.safetensors', 'pt') as file:
            self._tensors = {key: file.get_tensor(key) for key in file.keys()}
            self.config = json.loads(file.metadata()['config'])

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def under(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin with a prefix, by the rest of their names."""
        return {name.removeprefix(prefix): tensor for name, tensor in self._tensors.items() if name.startswith(prefix)}


def difference(found: Tensor, expected: Tensor) -> float:
    """The largest absolute difference, relative to the largest absolute value of what is expected."""
    assert found.shape == expected.shape
    return ((found.double() - expected.double()).abs().max() / expected.double().abs().max()).item()
