"""Curves as SVG for a page, which gives them their colours."""
from __future__ import annotations

import html
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SERIES = 8  # colours
POINTS = 400  # of a curve, the most
LINES = ('-', '--', ':', '-.')
# Placeholders: a page in the dark has other colours than one on paper.
FOREGROUND, GRID = '#a0b0f0', '#a0b0f1'


@dataclass(frozen=True)
class Curve:
    """A curve, or several of runs that differ in nothing but their seed: their mean, and a band of a standard deviation.

    Attributes:
        runs: Per run ``x`` and ``y``.
        colour: Number of its colour.
        line: Number of its line style.
        label: In the legend of its chart; none where it is empty.
    """
    runs: Sequence[tuple[Sequence[float], Sequence[float]]]
    colour: int = 0
    line: int = 0
    label: str = ''


def draw_chart(title: str, unit: str, curves: Sequence[Curve]) -> str:
    """An ``<svg>`` without a size, in colours that are CSS variables: ``--series-0`` to ``--series-7`` and ``--grid``."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    style = {'svg.fonttype': 'none', 'svg.hashsalt': title, 'font.family': 'sans-serif', 'font.size': 9, 'axes.titlesize': 10,
             **dict.fromkeys(('text.color', 'axes.edgecolor', 'axes.labelcolor', 'xtick.color', 'ytick.color'), FOREGROUND),
             'axes.spines.top': False, 'axes.spines.right': False, 'axes.grid': True, 'grid.color': GRID, 'grid.linewidth': .7,
             'axes.linewidth': .7, 'lines.linewidth': 1.6, 'lines.solid_capstyle': 'round', 'legend.frameon': False, 'legend.fontsize': 8}
    with mpl.rc_context(style):
        figure = Figure(figsize=(4.2, 2.7), layout='constrained')
        axes = figure.add_subplot()
        for curve in curves:
            _draw(axes, curve)
        axes.set_xlabel(unit)
        axes.margins(x=.02)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.ticklabel_format(axis='y', scilimits=(-3, 4))
        if any(curve.label for curve in curves):
            axes.legend(loc='best')
        file = io.StringIO()
        figure.savefig(file, format='svg', transparent=True, metadata=dict.fromkeys(('Creator', 'Date', 'Format', 'Type')))
    return _for_a_page(file.getvalue(), title)


def _draw(axes, curve: Curve) -> None:
    look = dict(color=f'#a0b0{curve.colour % SERIES:02x}', linestyle=LINES[curve.line % len(LINES)])
    marker = dict(marker='o', markersize=3.5) if max(len(x) for x, _ in curve.runs) <= 20 else {}
    label = curve.label or None
    together = mean_and_spread(curve.runs)
    if together is None:
        for x, y in curve.runs:
            axes.plot(*thinned(x, y), **look, **marker, label=label)
            label = None
        return
    x, mean, spread = together
    axes.plot(*thinned(x, mean), **look, **marker, label=label)
    if len(curve.runs) > 1:
        x, low = thinned(x, mean - spread)
        axes.fill_between(x, low, thinned(together[0], mean + spread)[1], color=look['color'], alpha=.2, linewidth=0)


def mean_and_spread(runs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """``x``, mean and sample standard deviation, at the ``x`` that all runs have; None where there is none."""
    values = [dict(zip(x, y)) for x, y in runs]
    common = sorted(set.intersection(*map(set, values)))
    if not common:
        return None
    y = np.array([[value[x] for x in common] for value in values], float)
    spread = y.std(0, ddof=1) if len(runs) > 1 else np.zeros(len(common))
    return np.array(common, float), y.mean(0), spread


def thinned(x: Sequence[float], y: Sequence[float], points: int = POINTS) -> tuple[np.ndarray, np.ndarray]:
    """At most ``points`` points, each the mean of so many that follow each other."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    if len(x) <= points:
        return x, y
    edges = np.linspace(0, len(x), points + 1).astype(int)[:-1]
    sizes = np.diff([*edges, len(x)])
    return np.add.reduceat(x, edges) / sizes, np.add.reduceat(y, edges) / sizes


def _for_a_page(svg: str, title: str) -> str:
    svg = svg[svg.index('<svg'):]
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else '', svg)  # several charts are on a page
    svg = re.sub(r'<svg [^>]*viewBox="([^"]*)"[^>]*>', rf'<svg viewBox="\1" role="img" aria-label="{html.escape(title)}">', svg, count=1)
    svg = re.sub(r'<defs>\s*<style.*?</style>\s*</defs>|font-family:[^;"]*;', '', svg, flags=re.DOTALL)  # they are the page's
    svg = svg.replace('xlink:href', 'href').replace(FOREGROUND, 'currentColor').replace(GRID, 'var(--grid)')
    return re.sub(r'#a0b0(0\d)', lambda found: f'var(--series-{int(found[1])})', svg)
