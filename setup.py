"""All but one thing is said in pyproject.toml: the file for site-packages that imports mmdssl before mmengine, mmcv, mmdet or mmseg."""
import ast
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

STARTUP = Path(__file__).with_name('mmdssl') / 'compat/startup.py'


class WithStartup(build_py):

    def run(self):
        super().run()
        folder = self.get_finalized_command('install').install_lib if self.editable_mode else self.build_lib
        code = ast.unparse(ast.parse(STARTUP.read_text()).body[1:])  # without the docstring
        line = f"exec({code!r}, {{'__name__': 'mmdssl_startup'}})"
        Path(folder).mkdir(parents=True, exist_ok=True)
        Path(folder, 'mmdssl_startup.pth').write_text(f'import sys; {line}\n')


setup(cmdclass={'build_py': WithStartup})
