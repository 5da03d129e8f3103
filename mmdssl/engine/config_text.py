"""Configs may use Python's keywords as keys, as in ``views={'global': ...}``.

MMEngine would write such a dict as ``dict(global=...)``, which is not Python, and fail when it logs the config. It writes
``{'global': ...}`` where a key is no identifier, so keywords are made to say that of themselves.
"""
from __future__ import annotations

from keyword import iskeyword
from types import SimpleNamespace

from mmengine.config import Config


class _Keyword(str):

    def __str__(self) -> str:
        return self

    def isidentifier(self) -> bool:
        return False


def _marked(node):
    if isinstance(node, dict):
        return {_Keyword(key) if iskeyword(str(key)) else key: _marked(value) for key, value in node.items()}
    if type(node) in (list, tuple):
        return type(node)(map(_marked, node))
    return node


_mmengine_text = Config.pretty_text.fget


def _pretty_text(self: Config) -> str:
    """The config as Python source."""
    return _mmengine_text(SimpleNamespace(to_dict=lambda: _marked(self.to_dict()),
                                          _format_python_code=self._format_python_code))


def allow_keywords() -> None:
    """Make ``Config.pretty_text`` do so."""
    Config.pretty_text = property(_pretty_text)
