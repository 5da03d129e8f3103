"""Sphinx's configuration, which also writes the pages of the API."""
from __future__ import annotations

import sys
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).parent
PACKAGE = HERE.parent / 'mmdssl'
sys.path.insert(0, str(HERE.parent))

project = 'mmdssl'
author = 'mmdssl developers'
extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon']
html_theme = 'furo'
html_title = 'mmdssl'
html_show_copyright = False
myst_heading_anchors = 4  # links to headings, as GitHub makes them
napoleon_use_ivar = True  # attributes of a dataclass are described once
autodoc_typehints_format = 'short'
# By their names, not by what they stand for.
autodoc_type_aliases = {name: name for name in ('NonEmpty', 'NonNegative', 'NonNegativeInt', 'Positive', 'PositiveInt', 'Share')}
autodoc_default_options = {'members': True, 'show-inheritance': True, 'ignore-module-all': True}


def write_api(folder: Path) -> None:
    """A page for each package, with what has a docstring in its modules; of commands, their help says more."""
    folder.mkdir(exist_ok=True)
    for package in sorted(path.parent for path in PACKAGE.rglob('__init__.py') if path.parent.name != 'cli'):
        name = '.'.join(package.relative_to(PACKAGE.parent).parts)
        modules = [f'{name}.{path.stem}' for path in sorted(package.glob('[!_]*.py'))]
        parts = [f'{name}\n{"=" * len(name)}\n\n.. automodule:: {name}\n   :no-members:\n']
        parts += [f'{module}\n{"-" * len(module)}\n\n.. automodule:: {module}\n' for module in modules]
        (folder / f'{name}.rst').write_text('\n'.join(parts))


def setup(app: Sphinx) -> None:
    write_api(HERE / 'api')
