"""Procedural textures of the sample world: solid patterns of objects and the grounds they stand on.

Every texture is a function of coordinates, ``(3, n)`` in an object or ``(2, n)`` on the ground, that returns a blend
between two colours, 0 to 1; the colours are chosen elsewhere.
"""
from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial import cKDTree


@lru_cache
def _noise(resolution: int, dimensions: int, smoothness: float) -> np.ndarray:
    """Periodic Gaussian noise of zero mean and unit deviation."""
    white = np.random.default_rng(resolution + dimensions).standard_normal((resolution,) * dimensions)
    smooth = gaussian_filter(white, smoothness, mode='wrap')
    return (smooth / smooth.std()).astype(np.float32)


@lru_cache
def _cells(cells: int, resolution: int, dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    """Periodic Worley noise: distance to the nearest and the second nearest of one random point a cell, in cells."""
    def grid(size):
        return np.indices((size,) * dimensions).reshape(dimensions, -1).T

    points = grid(cells) + np.random.default_rng(cells).uniform(.1, .9, (cells**dimensions, dimensions))
    distances = cKDTree(points, boxsize=cells).query(grid(resolution) * (cells / resolution), k=2)[0]
    first, second = np.float32(distances).T.reshape(2, *(resolution,) * dimensions)
    return first, second


def _sample(field: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
    """Linear interpolation of a periodic field whose period is 1."""
    return map_coordinates(field, coordinates * field.shape[0], order=1, mode='grid-wrap')


def _step(value: np.ndarray, sharpness: float) -> np.ndarray:
    return np.clip(.5 + sharpness * value, 0, 1)


def striped(q):
    return _step(np.sin(12 * q[0] + .5 * _sample(_noise(32, 3, 2), q / 8)), 4)


def checkered(q):
    return _step(np.clip(16 * np.sin(5.5 * q), -1, 1).prod(0), .5)


def spotted(q):
    return _step(.38 - _sample(_cells(6, 72, 3)[0], q / 2.6), 9)


def cracked(q):
    first, second = _cells(6, 72, 3)
    return _step(_sample(second - first, q / 4.2) - .17, 7)


def mottled(q):
    return _step(_sample(_noise(48, 3, 2), q / 2.7), 4)


PATTERNS = dict(striped=striped, checkered=checkered, spotted=spotted, cracked=cracked, mottled=mottled)


def grass(p):
    return .5 + .25 * _sample(_noise(512, 2, .8), np.stack([p[0] / 9, p[1] / 30]))


def sand(p):
    warp = _sample(_noise(128, 2, 3), p / 16)
    return .5 + .3 * np.sin(5 * p[0] + 2 * warp) + .1 * _sample(_noise(512, 2, .6), p / 7)


def tiles(p):
    edge = np.abs(p - np.round(p)).min(0)
    shade = _sample(_noise(64, 2, .1), np.round(p + .5) / 64)
    return _step(edge - .05, 25) * (.75 + .15 * shade)


def planks(p):
    across, board = np.modf(p[0] * 1.4 + 100)
    grain = _sample(_noise(512, 2, 1), np.stack([p[0] * .3, p[1] * .02 + board * .37]))
    return _step(np.minimum(across, 1 - across) - .04, 25) * (.6 + .16 * grain + .3 * np.sin(board * 2.4))


@lru_cache
def _pebbles():
    first, second = _cells(24, 384, 2)
    return np.clip(3 * (second - first), 0, 1) * (.9 - .6 * first)


def pebbles(p):
    return _sample(_pebbles(), p / 11)


GROUNDS = dict(grass=grass, sand=sand, tiles=tiles, planks=planks, pebbles=pebbles)
