"""A small ray tracer in NumPy: things made of convex primitives on a ground plane, lit by a soft sun and the sky.

World axes: x and y along the ground, z up. Rays are ``(3, H, W)`` arrays and every intersection is closed form, so an
image costs one array expression per primitive.
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np

from .textures import GROUNDS, PATTERNS

SKY, GROUND, FIRST_THING = 0, 1, 3

SHAPES = dict(
    ball=[('ball', (.9, .9, .9), (0, 0, 0))],
    crate=[('box', (.72, .72, .72), (0, 0, 0))],
    cone=[('cone', (.85, .85, .95), (0, 0, 0))],
    drum=[('cylinder', (.62, .62, .85), (0, 0, 0))],
    jack=[('box', (1, .3, .3), (0, 0, 0)), ('box', (.3, 1, .3), (0, 0, 0)), ('box', (.3, .3, 1), (0, 0, 0))],
    stone=[('ball', (1, .8, .6), (0, 0, 0))],
    post=[('cylinder', (.2, .2, 3), (0, 0, 0))],
)


@dataclass
class Camera:
    """A pinhole: ``axes`` has the unit vectors right, down and forward as rows, ``focal`` is in image heights."""
    position: np.ndarray
    axes: np.ndarray
    focal: float


@dataclass
class Thing:
    """An object: point p of its own space (radius about 1) lies at ``rotation @ (scale * p) + position``.

    The pattern blends the two rows of ``colors`` at the point ``grain @ p + offset`` of a solid texture.
    """
    shape: str
    pattern: str
    colors: np.ndarray
    rotation: np.ndarray
    scale: np.ndarray
    grain: np.ndarray
    offset: np.ndarray
    gloss: float
    position: np.ndarray
    crowd: bool = False

    def bounds(self) -> np.ndarray:
        """The lower and the upper corner ``(2, 3)`` of its box along the world's axes."""
        local = np.concatenate([self.rotation, -self.rotation]) * self.scale
        extent = np.max([local @ offset + _SUPPORT[primitive]((local * size).T)
                         for primitive, size, offset in SHAPES[self.shape]], axis=0)
        return self.position + np.stack([-extent[3:], extent[:3]])


@dataclass
class Scene:
    """What there is to see; colours are linear RGB.

    Attributes:
        things: Objects; thing i has the surface number ``FIRST_THING + i``.
        camera: The eye.
        grounds: Names of the grounds on the two sides of a wavy border; they have the surface numbers 1 and 2.
        ground_colors: ``(2, 2, 3)``: two colours for each ground.
        ground_turn: ``(2, 2)`` rotation of the ground's textures.
        border: Angle, distance from the origin and waviness of the border.
        sun: Unit vector towards the sun.
        sky: ``(3, 3)``: colours of the zenith, the horizon and the sunlight.
        exposure: Factor on all light.
    """
    things: list[Thing]
    camera: Camera
    grounds: tuple[str, str]
    ground_colors: np.ndarray
    ground_turn: np.ndarray
    border: tuple[float, float, float]
    sun: np.ndarray
    sky: np.ndarray
    exposure: float


def _quadric(o, d, metric, constant):
    """Parameters t where ``x^2 + y^2 + metric z^2 = constant`` on the ray o + t d, and the leading coefficient."""
    a = d[0]**2 + d[1]**2 + metric * d[2]**2 + 1e-9
    b = o[0] * d[0] + o[1] * d[1] + metric * o[2] * d[2]
    c = o[0]**2 + o[1]**2 + metric * o[2]**2 - constant
    root = np.sqrt(b * b - a * c)
    return (-b - root) / a, (-b + root) / a, a


def _slab(o, d):
    first, second = (-1 - o) / d, (1 - o) / d
    return np.minimum(first, second), np.maximum(first, second)


def _ball(o, d):
    return _quadric(o, d, 1, 1)[:2]


def _box(o, d):
    near, far = _slab(o, d)
    return near.max(0), far.min(0)


def _cylinder(o, d):
    near, far = _quadric(o, d, 0, 1)[:2]
    low, high = _slab(o[2], d[2])
    return np.maximum(near, low), np.minimum(far, high)


def _cone(o, d):
    """Apex at z = 1, base of radius 1 at z = -1. A steep ray is outside between the roots, between nappes."""
    near, far, a = _quadric(np.stack([o[0], o[1], o[2] - 1]), d, -.25, 0)
    low, high = _slab(o[2], d[2])
    steep, falling = a < 0, d[2] < 0
    near, far = np.where(steep & ~falling, -np.inf, near), np.where(steep & falling, np.inf, far)
    return np.maximum(near, low), np.minimum(far, high)


# Each gives the stretch (near, far) of the ray inside the unit primitive: a miss has near > far, or NaN.
_INTERVAL = dict(ball=_ball, box=_box, cylinder=_cylinder, cone=_cone)

# max of u . x over the points x of the unit primitive.
_SUPPORT = dict(
    ball=lambda u: np.sqrt((u * u).sum(0)),
    box=lambda u: np.abs(u).sum(0),
    cylinder=lambda u: np.hypot(u[0], u[1]) + np.abs(u[2]),
    cone=lambda u: np.maximum(u[2], np.hypot(u[0], u[1]) - u[2]),
)


def _normal(primitive, x):
    """Outward normal, of any length, at points x ``(3, n)`` on the surface of the unit primitive."""
    if primitive == 'ball':
        return x
    if primitive == 'box':
        return np.where(np.abs(x) == np.abs(x).max(0), np.sign(x), 0)
    side = np.stack([x[0], x[1], (1 - x[2]) / 4 if primitive == 'cone' else 0 * x[2]])
    cap = np.stack([0 * x[0], 0 * x[0], np.sign(x[2])])
    return np.where((x[2] < -.998) | ((x[2] > .998) & (primitive == 'cylinder')), cap, side)


def _turn(matrix, vectors):
    # einsum without BLAS: the same bits whatever the number of threads.
    return np.einsum('ij,j...->i...', np.float32(matrix), vectors)


def _intervals(thing: Thing, origin: np.ndarray, direction: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    to_local = thing.rotation.T / thing.scale[:, None]
    o = _turn(to_local, origin - np.float32(thing.position)[:, None, None])
    d = _turn(to_local, direction)
    for primitive, size, offset in SHAPES[thing.shape]:
        size, offset = np.float32(size)[:, None, None], np.float32(offset)[:, None, None]
        yield _INTERVAL[primitive]((o - offset) / size, d / size)


def _window(camera: Camera, points: np.ndarray, height: int, width: int) -> tuple[slice, slice]:
    """The part of the image, even at every edge, that the convex hull of points ``(n, 3)`` can cover."""
    x, y, depth = camera.axes @ (points - camera.position).T
    if depth.min() < .1:
        return slice(0, height), slice(0, width)
    window = []
    for coordinate, size in ((y, height), (x, width)):
        pixel = coordinate / depth * camera.focal * height / 2 + size / 4
        window.append(slice(*np.clip([2 * int(np.floor(pixel.min())), 2 * int(np.ceil(pixel.max()))], 0, size)))
    return tuple(window)


def _trace(scene: Scene, boxes: list[np.ndarray], rays: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First surface on each ray: its number, its part (primitive of a thing) and its depth; the sky has depth 0."""
    camera, (height, width) = scene.camera, rays.shape[1:]
    eye = np.float32(camera.position)[:, None, None]
    depth = np.where(rays[2] < -1e-3, -eye[2] / rays[2], np.inf)
    angle, distance, waviness = np.float32(scene.border)
    x, y = eye[:2] + np.where(np.isfinite(depth), depth, 0) * rays[:2]
    along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    beyond = across > distance + waviness * np.sin(1.3 * along + 4 * distance)
    surface = np.where(np.isfinite(depth), GROUND + beyond, SKY).astype(np.int32)
    part = np.zeros_like(surface)
    for number, (thing, corners) in enumerate(zip(scene.things, boxes), FIRST_THING):
        window = _window(camera, corners, height, width)
        for index, (near, far) in enumerate(_intervals(thing, eye, rays[(slice(None), *window)])):
            hit = (near < far) & (near > 0) & (near < depth[window])
            depth[window][hit], surface[window][hit], part[window][hit] = near[hit], number, index
    return surface, part, np.where(surface == SKY, 0, depth)


def _materials(scene, rays, points, surface, part, depth):
    """Albedo ``(3, H, W)``, unit normal ``(3, H, W)`` and gloss ``(H, W)`` of what each ray sees."""
    albedo, normal, gloss = np.zeros_like(points), np.zeros_like(points), np.zeros_like(depth)
    flat_albedo, flat_normal, flat_gloss = albedo.reshape(3, -1), normal.reshape(3, -1), gloss.reshape(-1)
    points, down, depth = points.reshape(3, -1), -rays[2].ravel(), depth.ravel()
    # Pixels by surface and part: one sort instead of a comparison with the whole image for each of them.
    key = np.int16(4 * surface + part).ravel()
    order = np.argsort(key, kind='stable')
    starts = np.searchsorted(key[order], np.arange(4 * (FIRST_THING + len(scene.things)) + 1))

    def pixels(number, index=0):
        return order[slice(*starts[4 * number + index:][:2])]

    def paint(seen, colors, blend):
        flat_albedo[:, seen] = _turn(colors.T, np.stack([1 - blend, blend]))

    for side, (name, colors) in enumerate(zip(scene.grounds, scene.ground_colors)):
        seen = pixels(GROUND + side)
        blend = GROUNDS[name](_turn(scene.ground_turn, points[:2, seen]))
        # Detail finer than a pixel averages out; sampled at points it would flicker.
        footprint = depth[seen] / (scene.camera.focal * len(gloss)) / np.maximum(down[seen], .05)
        paint(seen, colors, .5 + (blend - .5) * np.exp(-(12 * footprint)**2))
        flat_normal[2, seen] = 1
    for number, thing in enumerate(scene.things, FIRST_THING):
        to_local = thing.rotation.T / thing.scale[:, None]
        for index, (primitive, size, offset) in enumerate(SHAPES[thing.shape]):
            seen = pixels(number, index)
            if not len(seen):
                continue
            local = _turn(to_local, points[:, seen] - np.float32(thing.position)[:, None])
            solid = _turn(thing.grain, local) + np.float32(thing.offset)[:, None]
            paint(seen, thing.colors, PATTERNS[thing.pattern](solid))
            size, offset = np.float32(size)[:, None], np.float32(offset)[:, None]
            outward = _turn(to_local.T, _normal(primitive, (local - offset) / size) / size)
            flat_normal[:, seen] = outward / np.linalg.norm(outward, axis=0)
            flat_gloss[seen] = thing.gloss
    return albedo, normal, gloss


def _light(scene, boxes, points, normal, surface):
    """Share of the sun, with its shadows, and of the sky that reach each point, both ``(H, W)``."""
    height, width = surface.shape
    # The four subpixels of a pixel see four points of the sun's disk: soft shadows for the price of hard ones.
    across = np.cross(scene.sun, (0, 0, 1))
    disk = np.stack([across, np.cross(across, scene.sun)])
    suns = scene.sun[:, None] + .05 * disk.T @ np.array([[-1, 1, .4, -.4], [-.4, .4, -1, 1]])
    suns = np.float32(suns).reshape(3, 2, 2)
    sun = np.clip(np.einsum('ihw,i->hw', normal, np.float32(scene.sun)), 0, 1)
    sky = .55 + .45 * normal[2]
    for number, (thing, corners) in enumerate(zip(scene.things, boxes), FIRST_THING):
        fallen = corners - scene.sun * corners[:, 2:] / scene.sun[2]
        window = rows, columns = _window(scene.camera, np.concatenate([corners, fallen]), height, width)
        towards = np.tile(suns, (1, (rows.stop - rows.start) // 2, (columns.stop - columns.start) // 2))
        for near, far in _intervals(thing, points[(slice(None), *window)], towards):
            sun[window][(near < far) & (far > .02)] = 0
        center, radius = corners.mean(0), .8 * float(thing.scale.mean())
        window = _window(scene.camera, center + 3 * (corners - center), height, width)
        out = np.float32(center)[:, None, None] - points[(slice(None), *window)]
        distance = np.sqrt(np.einsum('ihw,ihw->hw', out, out))
        facing = np.clip(np.einsum('ihw,ihw->hw', out, normal[(slice(None), *window)]), 0, None) / distance
        sky[window] *= 1 - .8 * facing * np.minimum(radius / distance, 1)**2 * (surface[window] != number)
    return sun, sky


class Geometry(NamedTuple):
    """What the rays through the centres of the pixels meet first.

    Attributes:
        surface: Its number, int32 ``(H, W)``: 0 sky, 1 and 2 the grounds, ``FIRST_THING + i`` thing i.
        part: Which primitive of a thing it is, int32 ``(H, W)``.
        depth: Its distance along the viewing axis, float32 ``(H, W)``, 0 for the sky.
        points: Where it is in the world, float32 ``(3, H, W)``; the eye for the sky.
    """
    surface: np.ndarray
    part: np.ndarray
    depth: np.ndarray
    points: np.ndarray


def _rays(camera: Camera, width: int, height: int, samples: int) -> np.ndarray:
    """Directions of depth 1, float32 ``(3, samples * H, samples * W)``."""
    y, x = ((np.arange(samples * size, dtype=np.float32) + .5) / samples - size / 2 for size in (height, width))
    plane = np.stack(np.broadcast_arrays(x, y[:, None], np.float32(camera.focal * height))) / (camera.focal * height)
    return _turn(camera.axes.T, plane)


def _boxes(scene: Scene) -> list[np.ndarray]:
    """The corners ``(8, 3)`` of the box of each thing."""
    return [np.array(list(product(*thing.bounds().T))) for thing in scene.things]


def look(scene: Scene, width: int, height: int) -> Geometry:
    """Measure a scene with one ray a pixel, without drawing it."""
    rays = _rays(scene.camera, width, height, 1)
    with np.errstate(all='ignore'):
        surface, part, depth = _trace(scene, _boxes(scene), rays)
    return Geometry(surface, part, depth, np.float32(scene.camera.position)[:, None, None] + depth * rays)


def project(camera: Camera, points: np.ndarray, width: int, height: int) -> np.ndarray:
    """Where points ``(n, 3)`` of the world before the camera appear, x and y ``(n, 2)`` in pixels.

    The image spans 0 to its width and its height: the first pixel's centre is (0.5, 0.5).
    """
    x, y, depth = camera.axes @ (points - camera.position).T
    return np.stack([x, y]).T / depth[:, None] * camera.focal * height + np.array([width, height]) / 2


def surface_points(thing: Thing, directions: np.ndarray) -> np.ndarray:
    """The points ``(n, 3)`` of the world where rays from the thing's origin leave it.

    The directions ``(n, 3)`` are of the thing's own space: they name the same points however it is turned and stretched.
    """
    d = np.asarray(directions, dtype=float).T
    with np.errstate(all='ignore'):
        far = np.max([_INTERVAL[primitive](np.zeros_like(d) - np.array(offset)[:, None] / np.array(size)[:, None],
                                           d / np.array(size)[:, None])[1]
                      for primitive, size, offset in SHAPES[thing.shape]], axis=0)
    return (thing.rotation @ (thing.scale[:, None] * far * d)).T + thing.position


def visible(scene: Scene, points: np.ndarray, tolerance: float = .01) -> np.ndarray:
    """Which of some points ``(n, 3)`` on surfaces no thing hides, bool ``(n,)``; whether they are in the picture is not asked.

    A thing that is less than ``tolerance`` before a point does not hide it: the one it lies on.
    """
    eye = np.float32(scene.camera.position)[:, None, None]
    rays = np.float32(points).T[:, :, None] - eye
    limit = 1 - tolerance / np.sqrt((rays * rays).sum(0))
    free = np.ones(rays.shape[1:], bool)
    with np.errstate(all='ignore'):
        for thing in scene.things:
            for near, far in _intervals(thing, eye, rays):
                free &= ~((near < far) & (near > 0) & (near < limit))
    return free[:, 0]


def _subpixels(array):
    return [array[..., y::2, x::2] for y in (0, 1) for x in (0, 1)]


def render(scene: Scene, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a scene with 2 x 2 rays a pixel.

    Returns:
        The image, uint8 ``(H, W, 3)``, and the number of the surface that each pixel shows, int32 ``(H, W)``: 0 sky,
        1 and 2 the grounds, ``FIRST_THING + i`` thing i.
    """
    camera, boxes, rays = scene.camera, _boxes(scene), _rays(scene.camera, width, height, 2)
    with np.errstate(all='ignore'):
        surface, part, depth = _trace(scene, boxes, rays)
        points = np.float32(camera.position)[:, None, None] + depth * rays
        albedo, normal, gloss = _materials(scene, rays, points, surface, part, depth)
        sun, sky = _light(scene, boxes, points, normal, surface)
    zenith, horizon, sunlight = np.float32(scene.sky)[:, :, None, None]
    color = albedo * (.65 * sky * zenith + sun * sunlight)
    shiny = (gloss > 0) & (sun > 0)
    halfway = np.float32(scene.sun)[:, None] - rays[:, shiny] / np.linalg.norm(rays[:, shiny], axis=0)
    mirrored = np.einsum('in,in->n', halfway, normal[:, shiny]) / np.linalg.norm(halfway, axis=0)
    color[:, shiny] += gloss[shiny] * np.clip(mirrored, 0, 1)**40 * sunlight[:, 0]
    air = horizon + (zenith - horizon) * np.sqrt(np.clip(rays[2], 0, 1))
    color += np.where(surface == SKY, 1, 1 - np.exp(-depth / 120)) * (air - color)
    pixels = sum(_subpixels(color)) * (scene.exposure / 4)
    image = np.uint8(255 * np.clip(pixels, 0, 1)**(1 / 2.2) + .5).transpose(1, 2, 0)
    # The second smallest of the four is the number that most of them share.
    return image, np.sort(_subpixels(surface), axis=0)[1]
