"""Published results, as data: ``published.yaml``, whose first lines say what its fields mean."""
from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml

SOURCES = {
    'adclr2023': 'Zhang, Zhu, Zhao, Yan: ADCLR, ICLR 2023',
    'pqcl2023': 'Zhang, Zhou, Wang, Wang, Yan: PQCL, ICML 2023',
    'bam2024': 'Shalam, Korman: BAM, ECCV 2024',
    'lecture-mim': "Sadrdinov: LSDL lecture 05, 14.10.2024, reprinting the authors' table",
    'densecl-note': 'a reading note on Wang et al.: DenseCL, CVPR 2021',
    'hbird-readme': 'Pariza, Salehi, Asano: README of open-hummingbird-eval, release 2.0.0',
    'neco-readme': 'Pariza et al.: README of NeCo',
    'cribo-readme': 'Lebailly, Stegmüller et al.: README of CrIBo',
    'cribo2024': 'Lebailly, Stegmüller et al.: CrIBo, ICLR 2024',
    'leopart-readme': 'Ziegler, Asano: README of Leopart',
    'leopart2022': 'Ziegler, Asano: Leopart, CVPR 2022',
    'croc-readme': 'Stegmüller, Lebailly et al.: README of CrOC',
    'franca-issue': 'issues of valeoai/Franca',
    'ibot-issue': 'issues of bytedance/ibot',
    'lightly-issue': 'pull requests of lightly-ai/lightly-train',
    'dinov3-card': 'Siméoni et al.: model cards of DINOv3',
    'dinov2-card': 'Oquab et al.: model card of DINOv2',
    'dinov2-2023': 'Oquab et al.: DINOv2, 2023',
    'lost-readme': 'Siméoni et al.: README of LOST',
    'tokencut-readme': 'Wang, Shen et al.: README of TokenCut',
    'cropmae-readme': 'Eymaël et al.: README of CropMAE',
    'siammae2023': 'Gupta et al.: SiamMAE, NeurIPS 2023',
    'visbench': 'README of VisBench',
}
MARKS = 'read', 'issue', 'recalled'


def published_rows(task: str | None = None, dataset: str | None = None, framework: str | None = None,
                   backbone: str | None = None) -> list[dict]:
    """Published results, in the order of their sources.

    Args:
        task: ``'detection'``, ``'segmentation'``, ``'video-segmentation'``, ...; None means any, here and below.
        dataset: ``'coco'``, ``'ade20k'``, ``'davis-2017'``, ...
        framework: Head and schedule, ``'mask-rcnn-1x'``, ...; rows that do not name theirs are left out, but for tasks of which no
            row does, such as ``'linear'``.
        backbone: ``'vit-s/16'``, ``'resnet50'``, ...; its patch size only counts where a row prints one.
    """
    named = any('framework' in row for row in _rows() if task in (None, row['task']))
    wanted = dict(task=task, dataset=dataset, framework=framework if named else None)
    return [dict(row) for row in _rows()
            if all(value in (None, row.get(key)) for key, value in wanted.items())
            and same_backbone(backbone, row.get('backbone'))]


def published_datasets() -> set[str]:
    """Names of the data sets of published results."""
    return {row['dataset'] for row in _rows() if 'dataset' in row}


def same_backbone(wanted: str | None, printed: str | None) -> bool:
    if wanted is None or printed is None:
        return wanted is None
    sizes, patches = zip(*(name.partition('/')[::2] for name in (wanted, printed)))
    return sizes[0] == sizes[1] and (patches[0] == patches[1] or '' in patches)


@cache
def _rows() -> list[dict]:
    rows = yaml.safe_load(Path(__file__).with_name('published.yaml').read_text())
    beside = [row for row in rows if row['task'] == 'linear' and 'knn_top1' in row['metrics']]  # papers print both in one row
    return rows + [dict(row, id=f'{row["id"]}-knn', task='knn', metrics=dict(knn_top1=row['metrics']['knn_top1'])) for row in beside]
