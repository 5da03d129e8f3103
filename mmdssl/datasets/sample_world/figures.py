"""Jointed figures of the sample world that move: people made of limbs, whose joints and parts have names."""
from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from . import scenes
from .render import SHAPES, Scene, Thing, surface_points

ACTIONS = ('walk', 'wave', 'jump', 'bow')


@dataclass(frozen=True)
class Limb:
    """A limb hangs on a joint of its parent; x points ahead, y to the figure's left and z up as long as nothing is bent.

    Attributes:
        parent: The limb on which it hangs.
        joint: Where, from the joint of the parent.
        center: Its middle, from its joint.
        radii: Half of its lengths.
        part: What it is called among the parts of bodies and clothes.
        shape: A shape of one primitive.
    """
    parent: str | None
    joint: tuple[float, float, float]
    center: tuple[float, float, float]
    radii: tuple[float, float, float]
    part: str
    shape: str = 'ball'


def _limbs() -> dict[str, Limb]:
    limbs = dict(
        pelvis=Limb(None, (0, 0, 0), (0, 0, 0), (.2, .3, .2), 'pants'),
        torso=Limb('pelvis', (0, 0, 0), (0, 0, .5), (.21, .33, .5), 'upper clothes'),
        head=Limb('torso', (0, 0, 1), (0, 0, .2), (.23, .21, .27), 'face'),
        hat=Limb('head', (0, 0, .42), (0, 0, .12), (.26, .26, .2), 'hat', 'cone'))
    for name, side in (('right', -1), ('left', 1)):
        limbs[f'{name} arm'] = Limb('torso', (0, .38 * side, .85), (0, 0, -.26), (.12, .12, .32), f'{name} arm')
        limbs[f'{name} forearm'] = Limb(f'{name} arm', (0, 0, -.54), (0, 0, -.26), (.1, .1, .3), f'{name} arm')
        limbs[f'{name} thigh'] = Limb('pelvis', (0, .17 * side, -.05), (0, 0, -.28), (.16, .16, .33), 'pants')
        limbs[f'{name} shin'] = Limb(f'{name} thigh', (0, 0, -.58), (0, 0, -.27), (.12, .12, .31), f'{name} leg')
        limbs[f'{name} shoe'] = Limb(f'{name} shin', (0, 0, -.56), (.08, 0, -.04), (.2, .11, .09), f'{name} shoe')
    return limbs


LIMBS = MappingProxyType(_limbs())

# Fixed points of the skin, in the order of JHMDB: a limb and the direction from its middle.
JOINTS = {
    'neck': ('torso', (.6, 0, .8)), 'belly': ('torso', (1, 0, -.2)), 'face': ('head', (1, 0, 0)),
    **{f'{side} {joint}': (f'{side} {limb}', direction) for joint, limb, direction in (
        ('shoulder', 'arm', (.7, 0, .7)), ('hip', 'thigh', (.95, 0, .3)), ('elbow', 'forearm', (.7, 0, .7)),
        ('knee', 'shin', (.7, 0, .7)), ('wrist', 'forearm', (.7, 0, -.7)), ('ankle', 'shin', (.7, 0, -.7)))
       for side in ('right', 'left')},
}


def _bends(action: str, phase: float) -> dict[str, tuple[float, float]]:
    """How far each limb swings back and how far to the left, radians."""
    swing, lift = np.sin(phase), (1 - np.cos(phase)) / 2
    if action == 'walk':
        return {'right thigh': (-.5 * swing, 0), 'right shin': (.7 * lift, 0), 'right arm': (.5 * swing, -.1), 'right forearm': (-.4, 0),
                'left thigh': (.5 * swing, 0), 'left shin': (.7 - .7 * lift, 0), 'left arm': (-.5 * swing, .1), 'left forearm': (-.4, 0)}
    if action == 'wave':
        return {'right arm': (0, -2.2), 'right forearm': (0, -.5 + .7 * swing), 'left arm': (.2 * swing, .15), 'head': (0, .15 * swing)}
    if action == 'jump':
        return {'right arm': (0, -.15 - 2.2 * lift), 'right thigh': (0, -.4 * lift),
                'left arm': (0, .15 + 2.2 * lift), 'left thigh': (0, .4 * lift)}
    return {'torso': (.8 * lift, 0), 'head': (.3 * lift, 0), 'right arm': (-.8 * lift, -.1), 'left arm': (-.8 * lift, .1)}


def _posed(looks: dict[str, Thing], bends: dict[str, tuple[float, float]], at: np.ndarray, turn: np.ndarray,
           hop: float) -> dict[str, Thing]:
    """The limbs as things; the lowest touches the ground where there is no hop."""
    joints, turns, things = {None: at}, {None: turn}, {}
    for name, limb in LIMBS.items():
        back, left = bends.get(name, (0, 0))
        joints[name] = joints[limb.parent] + turns[limb.parent] @ limb.joint
        turns[name] = turns[limb.parent] @ scenes.rotation(0, left) @ scenes.rotation(1, back)
        size = SHAPES[limb.shape][0][1]
        things[name] = replace(looks[name], rotation=turns[name], scale=np.array(limb.radii) / size,
                               position=joints[name] + turns[name] @ limb.center)
    lift = [0, 0, hop - min(thing.bounds()[0, 2] for thing in things.values())]
    return {name: replace(thing, position=thing.position + lift) for name, thing in things.items()}


def _looks(rng) -> dict[str, Thing]:
    """A thing with the colours and the pattern of each limb, alike on what is of one cloth."""
    cloths = {cloth: scenes.random_thing(rng, np.zeros(2), 1, 'ball') for cloth in ('skin', 'upper clothes', 'pants', 'hat', 'shoe')}
    looks = {}
    for name, limb in LIMBS.items():
        cloth = cloths.get(limb.part) or cloths['shoe' if limb.part.endswith('shoe') else 'skin']
        looks[name] = replace(cloth, shape=limb.shape, offset=rng.uniform(0, 50, 3))
    return looks


def performance(rng: np.random.Generator, frames: int, action: str, count: int = 1) -> list[tuple[Scene, list[dict[str, Thing]]]]:
    """A clip of ``count`` figures side by side who do the same, each in its own time, more or less towards the eye.

    Returns:
        For each frame the scene and the limbs of each figure, which are its first things, in this order.
    """
    focal = rng.uniform(1, 1.6)
    camera = scenes.aimed_camera(np.array([0, 0, 1.5]), 0, rng.uniform(.05, .3), rng.uniform(3.7, 4.2) * focal, focal, 0)
    clutter = scenes.random_clutter(rng, [], 4, 3.5, .3)
    clutter = [each for each in clutter if each.position[0] < -1]
    scene = scenes.random_scene(rng, clutter, camera)
    figures = [dict(looks=_looks(rng), start=place + rng.uniform(-.3, .3), way=rng.uniform(-.6, .6), ahead=rng.uniform(-.3, .3),
                    turn=rng.uniform(-.5, .5), turning=rng.uniform(-.4, .4),
                    phase=rng.uniform(0, 2 * np.pi), pace=2 * np.pi * rng.uniform(1, 2))
               for place in 1.6 * (np.arange(count) - (count - 1) / 2)]

    def limbs(figure, time):
        phase = figure['phase'] + figure['pace'] * time
        hop = .25 * (1 - np.cos(phase)) if action == 'jump' else 0
        at = np.array([figure['ahead'], figure['start'] + figure['way'] * time, 0])
        turn = scenes.rotation(2, figure['turn'] + figure['turning'] * time)
        return _posed(figure['looks'], _bends(action, phase), at, turn, hop)

    clip = []
    for time in np.linspace(0, 1, frames):
        posed = [limbs(figure, time) for figure in figures]
        clip.append((replace(scene, things=[thing for figure in posed for thing in figure.values()] + clutter), posed))
    return clip


def joints_of(figure: dict[str, Thing]) -> np.ndarray:
    """Where the 15 joints of a figure are in the world ``(15, 3)``, in the order of ``JOINTS``."""
    return np.concatenate([surface_points(figure[limb], np.array([direction])) for limb, direction in JOINTS.values()])
