"""Scenes of the sample world, drawn at random: what stands where, in which colours and light, seen from where."""
from __future__ import annotations

from dataclasses import replace

import numpy as np

from .render import Camera, Scene, Thing
from .textures import GROUNDS, PATTERNS

KINDS = ('ball', 'crate', 'cone', 'drum', 'jack')

# Each shape comes in two patterns and each pattern on two shapes: who knows only one of them is right half of the time.
CLASSES = tuple((shape, pattern) for i, shape in enumerate(KINDS)
                for pattern in (list(PATTERNS)[i], list(PATTERNS)[(i + 1) % len(KINDS)]))

_TURN = 2 * np.pi

# Hue and saturation around which the colours of a ground vary.
_GROUND_COLOR = dict(grass=(.27, .6), sand=(.11, .4), tiles=(.55, .2), planks=(.07, .55), pebbles=(.08, .1))


def _color(hue: float, saturation: float, value: float) -> np.ndarray:
    """Linear RGB of a color given as HSV."""
    pure = np.clip(np.abs((6 * hue + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return (value * (1 - saturation + saturation * pure))**2.2


def rotation(axis: int, angle: float) -> np.ndarray:
    matrix, (i, j) = np.eye(3), ((axis + 1) % 3, (axis + 2) % 3)
    matrix[i, i] = matrix[j, j] = np.cos(angle)
    matrix[j, i], matrix[i, j] = np.sin(angle), -np.sin(angle)
    return matrix


def _grounded(thing: Thing) -> Thing:
    """The thing lifted or lowered until it touches the ground."""
    return replace(thing, position=thing.position - [0, 0, thing.bounds()[0, 2]])


def _pose(rng) -> np.ndarray:
    """A rotation: upright, more or less, or lying on a side."""
    tilt = rng.normal(0, .15) if rng.random() < .65 else np.pi / 2 + rng.normal(0, .25)
    return rotation(2, rng.uniform(0, _TURN)) @ rotation(0, tilt) @ rotation(2, rng.uniform(0, _TURN))


def random_thing(rng, at: np.ndarray, size: float, shape: str | None = None, pattern: str | None = None,
                 crowd: bool = False) -> Thing:
    """A thing on the ground, of any class where none is named.

    As in nature the things of a class tend to be of a colour, but not all are.
    """
    shape, pattern = shape or rng.choice(KINDS), pattern or rng.choice(list(PATTERNS))
    dark = _color(rng.random(), rng.uniform(.1, .9), rng.uniform(.1, .4))
    hue = rng.random()
    if (shape, pattern) in CLASSES:
        hue = CLASSES.index((shape, pattern)) / len(CLASSES) + rng.normal(0, .06)
    light = _color(hue, rng.uniform(.4, .9), rng.uniform(.8, 1))
    grain = rng.uniform(.85, 1.2) * (np.eye(3) if pattern == 'checkered' else _pose(rng))
    return _grounded(Thing(
        shape, pattern, colors=rng.permutation([dark, light]), rotation=_pose(rng),
        scale=size * np.exp(rng.normal(0, .1, 3)), grain=grain, offset=rng.uniform(0, 50, 3),
        gloss=rng.choice([0, .15, .6]), position=np.array([*at, 0.]), crowd=crowd))


def random_clutter(rng, things: list[Thing], count: int, reach: float, size: float) -> list[Thing]:
    """Stones and posts, of no class, on free ground between the things."""
    clutter = []
    for _ in range(count):
        at, shape = rng.uniform(-reach, reach, 2), rng.choice(['stone', 'stone', 'post'])
        if _free(things + clutter, at, size):
            clutter.append(random_thing(rng, at, size * rng.uniform(.3, 1), shape))
    return clutter


def _free(things: list[Thing], at: np.ndarray, size: float) -> bool:
    return all(np.hypot(*(thing.position[:2] - at)) > 1.1 * (thing.scale.mean() + size) for thing in things)


def _direction(azimuth: float, elevation: float) -> np.ndarray:
    return np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])


def aimed_camera(target: np.ndarray, azimuth: float, elevation: float, distance: float, focal: float, roll: float) -> Camera:
    """A camera at a distance from the target, upright but for the roll."""
    backward = _direction(azimuth, elevation)
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0])
    level = np.stack([right, np.cross(right, backward), -backward])
    return Camera(target + distance * backward, rotation(2, roll) @ level, focal)


def random_scene(rng, things: list[Thing], camera: Camera, usual_ground: str | None = None) -> Scene:
    grounds = rng.choice(list(GROUNDS), 2)
    if usual_ground and rng.random() < .6:
        grounds[:] = usual_ground
    if rng.random() < .4:
        grounds = grounds[[0, 0]]
    ground_colors = []
    for name in grounds:
        hue, saturation = _GROUND_COLOR[name] + rng.normal(0, (.03, .1))
        light = _color(hue, np.clip(saturation, 0, 1), rng.uniform(.45, .95))
        ground_colors.append([.3 * light, light])
    zenith = _color(rng.uniform(.54, .64), rng.uniform(.1, .6), rng.uniform(.6, 1))
    horizon = _color(rng.choice([.09, .57]), rng.uniform(.02, .2), rng.uniform(.85, 1))
    sunlight = _color(rng.uniform(.07, .13), rng.uniform(.05, .35), 1) * rng.uniform(.6, 1.5)
    return Scene(
        things, camera, tuple(grounds), np.array(ground_colors),
        ground_turn=rotation(2, rng.uniform(0, _TURN))[:2, :2],
        border=(rng.uniform(0, _TURN), rng.uniform(-1.5, 1.5), rng.uniform(0, .5)),
        sun=_direction(rng.uniform(0, _TURN), rng.uniform(.45, 1.3)), sky=np.array([zenith, horizon, sunlight]),
        exposure=rng.uniform(.8, 1.3))


def photo(rng: np.random.Generator, label: int) -> Scene:
    """One thing of a class in the middle, large, often on its usual ground; smaller things of any class around it."""
    shape, pattern = CLASSES[label]
    main = random_thing(rng, np.zeros(2), 1, shape, pattern)
    azimuth, elevation, focal = rng.uniform(0, _TURN), rng.uniform(.15, 1.1), rng.uniform(.9, 2)
    things = [main]
    for _ in range(rng.integers(0, 3)):
        angle = azimuth + np.pi + rng.uniform(-2, 2)
        at, size = rng.uniform(1.7, 3.5) * np.array([np.cos(angle), np.sin(angle)]), rng.uniform(.3, .6)
        if _free(things, at, size):
            things.append(random_thing(rng, at, size))
    target = main.position + rng.uniform(-.3, .3, 3)
    camera = aimed_camera(target, azimuth, elevation, 2 * focal / rng.uniform(.6, 1), focal, rng.normal(0, .12))
    clutter = random_clutter(rng, things, rng.integers(0, 5), 2.5, .3)
    return random_scene(rng, things + clutter, camera, list(GROUNDS)[label % len(GROUNDS)])


def gathering(rng: np.random.Generator, count: int, crowd: bool) -> Scene:
    """At most ``count`` things that hide one another; with ``crowd``, also a flock of small things of one shape."""
    things = []
    if crowd:
        shape, center = rng.choice(KINDS), rng.uniform(-2, 2, 2)
        places = .55 * (np.indices((4, 4)).reshape(2, -1).T - 1.5) + rng.uniform(-.12, .12, (16, 2))
        things = [random_thing(rng, center + place, .22, shape, crowd=True)
                  for place in rng.permutation(places)[:rng.integers(9, 15)]]
    for _ in range(count):
        at, size = rng.uniform(-2.4, 2.4, 2), rng.uniform(.5, 1.2)
        if _free(things, at, .7 * size):
            things.append(random_thing(rng, at, size))
    focal = rng.uniform(.9, 1.8)
    camera = aimed_camera(np.array([*rng.uniform(-.5, .5, 2), .5]), rng.uniform(0, _TURN), rng.uniform(.2, .8),
                     rng.uniform(4.3, 5.5) * focal, focal, rng.normal(0, .06))
    return random_scene(rng, things + random_clutter(rng, things, rng.integers(2, 8), 4, .35), camera)


def specimen(rng: np.random.Generator, label: int) -> tuple[Scene, float]:
    """One thing of a class, whose pattern lies on its shape in the same place each time, and from how far left it is seen, radians."""
    shape, pattern = CLASSES[label]
    model = random_thing(np.random.default_rng(label), np.zeros(2), 1, shape, pattern)
    viewpoint, azimuth, elevation, focal = rng.normal(0, .7), rng.uniform(0, _TURN), rng.uniform(.25, .9), rng.uniform(.9, 2)
    thing = random_thing(rng, np.zeros(2), 1, shape, pattern)
    tilt = rotation(0, rng.normal(0, .1)) @ rotation(1, rng.normal(0, .1))
    thing = _grounded(replace(thing, rotation=rotation(2, azimuth - viewpoint) @ tilt, grain=model.grain, offset=model.offset,
                              colors=thing.colors[np.argsort(thing.colors.sum(1))]))
    camera = aimed_camera(thing.position + rng.uniform(-.3, .3, 3), azimuth, elevation, 2 * focal / rng.uniform(.5, .9), focal,
                          rng.normal(0, .1))
    return random_scene(rng, [thing, *random_clutter(rng, [thing], rng.integers(0, 5), 2.5, .3)], camera), viewpoint


def yard(rng: np.random.Generator) -> Scene:
    """Things near and far, seen by the same camera each time: its field of view is that of NYU depth's."""
    things: list[Thing] = []
    for _ in range(rng.integers(4, 13)):
        at, size = rng.uniform(-5, 5, 2), rng.uniform(.5, 1.2)
        if _free(things, at, .7 * size):
            things.append(random_thing(rng, at, size))
    camera = aimed_camera(np.array([*rng.uniform(-1, 1, 2), .8]), rng.uniform(0, _TURN), rng.uniform(.15, .55), rng.uniform(4, 9),
                          518.8579 / 480, rng.normal(0, .03))
    eye = camera.position
    things = [thing for thing in things if np.hypot(*(thing.position - eye)[:2]) > 1 + 1.8 * thing.scale.max()]
    return random_scene(rng, things + random_clutter(rng, things, rng.integers(2, 8), 4, .35), camera)


def clip(rng: np.random.Generator, frames: int, leaves: bool) -> list[Scene]:
    """Things that cross the view on lanes one behind the other; with ``leaves``, the nearest one goes for good."""
    count, focal = rng.integers(2, 5), rng.uniform(1, 1.6)
    camera = aimed_camera(np.array([0, 0, .5]), 0, rng.uniform(.2, .45), 5 * focal, focal, 0)
    lanes, side = [], rng.choice([-1, 1])
    for depth in 1.3 * (np.arange(count) - (count - 1) / 2):
        side = -side
        thing = random_thing(rng, np.array([-depth, 0]), rng.uniform(.55, .8))
        start, end = side * rng.uniform(1.3, 2.2), -side * (7 if leaves and not lanes else rng.uniform(1, 2))
        turn, axis, swell, phase = rng.uniform(-2, 2), rng.integers(0, 3), rng.uniform(.1, .2), rng.uniform(0, _TURN)
        lanes.append((thing, start, end, turn, axis, swell, phase))

    def moved(thing, start, end, turn, axis, swell, phase, time):
        return _grounded(replace(
            thing, position=thing.position + [0, start + (end - start) * time, 0],
            rotation=rotation(axis, turn * time) @ thing.rotation,
            scale=thing.scale * (1 + swell * np.sin(phase + 5 * time))))

    scene = random_scene(rng, random_clutter(rng, [lane[0] for lane in lanes], 4, 3, .3), camera)
    return [replace(scene, things=[moved(*lane, time) for lane in lanes] + scene.things)
            for time in np.linspace(0, 1, frames)]
