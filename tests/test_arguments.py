"""Annotations are the check of what classes are given."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
import pytest
from mmengine.config import ConfigDict
from torch import nn

from mmdssl.arguments import NonEmpty, NonNegativeInt, Positive, PositiveInt, Share, checked, fits
from mmdssl.errors import InputError
from mmdssl.registry import MODELS


@pytest.mark.parametrize('hint, right, wrong', [
    (int, [3, -1, np.int64(2)], [2.5, 2., True, '3', None, [3]]),
    (float, [3, -1.5, np.float32(2)], ['3', True, float('nan'), float('inf'), 10**400, None]),
    (bool, [True, False], [1, 0, 'yes', None]),
    (str, ['', 'a'], [1, None]),
    (Literal['a', 'b'], ['a'], ['c', 1, None, ['a']]),
    (Literal[1, 2], [1], [3, True, 1.]),
    (int | None, [None, 1], ['None', 1.5]),
    (Share, [0, 1, .5], [-1, 2, 'a']),
    (Positive, [1e-9, 5], [0, -1]),
    (PositiveInt | Literal[-1], [-1, 1], [0, -2]),
    (Sequence[int], [(), [1], range(3)], ['12', 1, [1.5], None]),
    (tuple[float, float], [(1, 2), [1, 2]], [(1, ), (1, 2, 3), 'ab', (1, 'b')]),
    (tuple[int, ...], [(), [1, 2]], [[1, 'b'], 1]),
    (Annotated[Sequence[int], NonEmpty], [[1]], [[], 1]),
    (dict[str, PositiveInt], [{}, ConfigDict(a=1)], [dict(a=0), [], 'a']),
    (Mapping, [{}, ConfigDict()], [[], 1]),
    (nn.Module, [nn.Identity(), 5], []),
])
def test_what_fits_an_annotation(hint, right, wrong):
    assert all(fits(value, hint) for value in right)
    assert not any(fits(value, hint) for value in wrong)


@MODELS.register_module()
class Base(nn.Module):

    def __init__(self, width: PositiveInt, rate: Share = 0.5, kind: Literal['relu', 'gelu'] = 'relu'):
        super().__init__()
        self.values = width, rate, kind


@MODELS.register_module()
class Derived(Base):

    def __init__(self, depth: NonNegativeInt = 0, **kwargs):
        super().__init__(**kwargs)


@pytest.mark.parametrize('arguments, message', [
    (dict(width=0), 'Base has width=0: give a whole number of at least 1$'),
    (dict(width=1, rate=2), 'Base has rate=2: give a number from 0 to 1$'),
    (dict(width=1, kind='geluu'), r"Base has kind='geluu': give 'relu' or 'gelu' \(did you mean 'gelu'\?\)"),
    (dict(type='Derived', width=-1), 'Derived has width=-1: give'),
    (dict(type='Derived', width=1, depth='deep'), "Derived has depth='deep': give a whole number of at least 0$"),
])
def test_a_registered_class_checks_itself_from_a_config_and_from_python(arguments, message):
    with pytest.raises(InputError, match=message):
        MODELS.build({'type': 'Base', **arguments})
    kind = MODELS.get(arguments.pop('type', 'Base'))
    with pytest.raises(InputError, match=message):
        kind(**arguments)


def test_what_is_right_is_passed_on_and_pythons_own_errors_stay():
    assert Derived(width=3, rate=1).values == (3, 1, 'relu')
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'width'"):
        Base()
    with pytest.raises(TypeError, match="unexpected keyword argument 'wide'"):
        Base(1, wide=2)


def test_a_function_is_checked_but_not_its_defaults():

    @checked
    def scale(by: Positive = -1):
        return by
    assert scale() == -1 and scale(2) == 2
    with pytest.raises(InputError, match='scale has by=-2: give a number above 0'):
        scale(-2)
