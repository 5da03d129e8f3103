from pathlib import Path

from setuptools import find_packages, setup

version = next(line.split("'")[1] for line in Path('mmdssl/__init__.py').read_text().splitlines()
               if line.startswith('__version__'))

setup(
    name='mmdssl',
    version=version,
    description='Self-supervised pretraining for dense prediction, on OpenMMLab',
    long_description=Path('README.md').read_text(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=find_packages(include=['mmdssl', 'mmdssl.*']),
    package_data={'mmdssl.results': ['published.yaml', 'report.html']},
    python_requires='>=3.10,<3.13',
    install_requires=[
        'torch>=2.6',
        'torchvision>=0.21',
        'timm>=1.0.23',
        # The maintained distributions of mmengine, mmcv, mmdet and mmseg, under the same import names.
        'onedl-mmengine>=0.10.12',
        'onedl-mmcv>=2.3.6',
        'onedl-mmdetection>=3.5.1',
        'onedl-mmsegmentation>=1.4.2',
        'filelock',
        'jinja2',
        'matplotlib',
        'numpy',
        'pillow',
        'pycocotools',
        'rich',
        'safetensors',
        'scikit-learn',
        'scipy',
        'shapely',
        'tensorboard',
    ],
    # transformers: its classes are the source that its checkpoints are compared with.
    extras_require={'test': ['pytest', 'pytest-xdist', 'ruff==0.17.6', 'transformers']},
)
