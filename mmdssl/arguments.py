"""What a class may be given: its annotations say it, and are checked when it is built.

Each class that is registered in :mod:`mmdssl.registry` is :func:`checked`, whether a config or Python builds it. An annotation
names the kind of a value (``int``, ``float``, ``bool``, ``str``, ``Literal``, sequences, mappings), the aliases below its range too.
"""
from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache, wraps
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from mmdssl.errors import InputError


class Range(NamedTuple):
    """What numbers an ``Annotated[int, Range(...)]`` or ``Annotated[float, Range(...)]`` takes.

    Attributes:
        words: Of an error: ``'from 0 to 1'``.
        holds: Whether a number is one.
    """
    words: str
    holds: Callable[[Any], bool]

    def __repr__(self) -> str:
        return self.words


def at_least(low: float) -> Range:
    return Range(f'of at least {low}', lambda value: value >= low)


Positive = Annotated[float, Range('above 0', lambda value: value > 0)]
NonNegative = Annotated[float, at_least(0)]
Share = Annotated[float, Range('from 0 to 1', lambda value: 0 <= value <= 1)]
PositiveInt = Annotated[int, at_least(1)]
NonNegativeInt = Annotated[int, at_least(0)]
NonEmpty = Range('that is not empty', len)

KINDS = {
    bool: (bool, 'True or False', 'True or False'),
    int: (Integral, 'a whole number', 'whole numbers'),
    float: (Real, 'a number', 'numbers'),
    str: (str, 'a text', 'texts'),
    NoneType: (NoneType, 'None', 'None'),
    Sequence: (Sequence, 'a list', 'lists'),
    Mapping: (Mapping, 'a dict', 'dicts'),
}
ALIASES = {list: Sequence, tuple: Sequence, dict: Mapping}  # configs do not tell lists from tuples


def checked(target):
    """Class decorator, or decorator of a function: a call with an argument that does not fit its annotation is an InputError.

    Of a class these are its ``__init__`` and those of its bases in the same package. Other kinds of annotations, such as classes, and
    defaults are taken as they are.
    """
    if not inspect.isclass(target):
        return _checked(target)
    for base in target.__mro__:
        init = vars(base).get('__init__')
        if inspect.isfunction(init) and not hasattr(init, '__wrapped__') and _package(base) == _package(target):
            base.__init__ = _checked(init)
    return target


def _package(cls: type) -> str:
    return cls.__module__.partition('.')[0]


def _checked(function: Callable) -> Callable:
    signature = inspect.signature(function)

    @cache
    def hints() -> dict[str, Any]:
        try:
            return get_type_hints(function, include_extras=True)
        except NameError:  # of what is imported for type checkers alone
            return {}

    @wraps(function)
    def call(*args, **kwargs):
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError:
            return function(*args, **kwargs)  # which says what is missing or too much
        for name, value in given.items():
            parameter = signature.parameters[name]
            variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            if name in hints() and not variadic and value is not parameter.default and not fits(value, hints()[name]):
                owner = type(args[0]).__name__ if 'self' in signature.parameters else function.__name__
                raise InputError(f'{owner} has {refusal(name, value, hints()[name])}')
        return function(*args, **kwargs)
    return call


def fits(value, hint) -> bool:
    """Whether a value is what an annotation says, as far as that is checked."""
    origin, args = get_origin(hint) or hint, get_args(hint)
    if origin is Annotated:
        return fits(value, args[0]) and all(rule.holds(value) for rule in args[1:] if isinstance(rule, Range))
    if origin in (Union, UnionType):
        return any(fits(value, arg) for arg in args)
    if origin is Literal:
        return any(type(value) is type(arg) and value == arg for arg in args)
    kind = ALIASES.get(origin, origin)
    if kind not in KINDS:
        return True
    if not isinstance(value, KINDS[kind][0]) or isinstance(value, (bool, str)) and kind not in (bool, str):
        return False
    if kind is float:
        return abs(value) <= sys.float_info.max
    if origin is tuple and args and args[-1] is not ...:
        return len(value) == len(args) and all(map(fits, value, args))
    elements, hint = (value.values(), args[-1:]) if kind is Mapping else (value, args[:1])
    return not hint or all(fits(element, *hint) for element in elements)


def refusal(name: str, value, hint) -> str:
    """What an error says of a value that does not fit."""
    options = _options(hint)
    close = difflib.get_close_matches(repr(value), options, n=1)
    return f'{name}={value!r:.100}: give {", ".join(options[:-1])}{" or " * (len(options) > 1)}{options[-1]}' + (
        f' (did you mean {close[0]}?)' if close and isinstance(value, str) else '')


def _options(hint) -> list[str]:
    if get_origin(hint) in (Union, UnionType):
        return [option for arg in get_args(hint) for option in _options(arg)]
    return list(map(repr, get_args(hint))) if get_origin(hint) is Literal else [_words(hint)]


def _words(hint, several: bool = False) -> str:
    """An annotation for people, of one value or of several."""
    origin, args = get_origin(hint) or hint, get_args(hint)
    if origin is Annotated:
        return ' '.join([_words(args[0], several), *(rule.words for rule in args[1:] if isinstance(rule, Range))])
    if origin in (Union, UnionType, Literal):
        return ' or '.join(_words(arg, several) if origin is not Literal else repr(arg) for arg in args)
    kind = ALIASES.get(origin, origin)
    if kind not in KINDS:
        return f'a {getattr(kind, "__name__", kind)}'
    if origin is tuple and args and args[-1] is not ...:
        return f'({", ".join(map(_words, args))})'
    of = args[-1:] if kind is Mapping else args[:1]
    return KINDS[kind][1 + several] + ''.join(f' of {_words(hint, several=True)}' for hint in of)
