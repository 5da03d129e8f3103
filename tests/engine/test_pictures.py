"""From a network and images to what is drawn, where the truth is known."""
from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from mmdssl.datasets import ViewGroup, Views, ViewsPreprocessor
from mmdssl.engine import pictures
from mmdssl.engine.pictures import PICTURES, Scene, spread
from mmdssl.errors import InputError
from mmdssl.registry import MODELS

CELL = 8


class Mosaic:
    """An image of 8 x 8 random squares, and two views of 4 x 4 of them, the second one mirrored."""
    crop_boxes = None

    def __init__(self):
        self.squares = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8)
        self.image = self.squares.repeat_interleave(CELL, 1).repeat_interleave(CELL, 2)

    def __getitem__(self, key) -> Views:
        boxes = torch.tensor([[0., 0., 32., 32.], [16., 8., 32., 32.]])
        first, second = (self.image[:, int(y):int(y + h), int(x):int(x + w)] for x, y, w, h in boxes)
        return Views({'global': ViewGroup(torch.stack([first, second.flip(2)]), boxes, torch.tensor([False, True]))}, torch.tensor(0))

    def whole_image(self, index):
        return Image.fromarray(self.image.movedim(0, -1).numpy())


class Colours(nn.Module):
    """A network that sees the colour of each square, and nothing else."""

    def forward(self, images):
        return (nn.functional.avg_pool2d(images.float(), CELL) - 128, )


def scene(**changes) -> Scene:
    return Scene(**{**dict(backbone=Colours(), normalise=lambda images: images, images=torch.zeros(0, 3, 64, 64), shown=0), **changes})


@pytest.fixture
def drawn(monkeypatch):
    """Function ``drawn(name, scene)``: what the picture is drawn of."""
    def run(name: str, scene: Scene, draw: str) -> tuple:
        monkeypatch.setattr(pictures, draw, lambda *args: args)
        return PICTURES[name](scene)
    return run


def test_places_of_two_views_match_where_they_are_the_same(drawn):
    *_, found, sure, truth, lines = drawn('matches', scene(dataset=Mosaic(), keys=[(0, 0, 0)], lines=7), 'draw_matches')
    assert lines == 7
    for row in range(4):
        for column in range(4):
            there = 3 - (column - 2), row - 1  # 2 to the right and 1 down, and mirrored
            assert truth[0, 4 * row + column].tolist() == list(there)
            if column >= 2 and row >= 1:
                assert found[0, 4 * row + column] == 4 * there[1] + there[0] and sure[0, 4 * row + column] > 0.999


def test_cells_may_be_larger_than_those_of_the_map(drawn):
    *_, found, _, truth, _ = drawn('matches', scene(dataset=Mosaic(), keys=[(0, 0, 0)], grid=2), 'draw_matches')
    assert found.shape == (1, 4) and truth.shape == (1, 4, 2)


def test_copies_are_neighbours_of_each_other_and_of_nothing_else(drawn):
    images = torch.stack([Mosaic().image for _ in range(6)])
    images[4] = images[1]
    shown = scene(images=images, shown=2)
    found, cosines = drawn('neighbours', shown, 'draw_neighbours')[1:]
    assert found.shape == (2, 5) and found[1, 0] == 4 and cosines[1, 0] > 0.999 and 0 not in found[0]
    _, patch, found, maps = drawn('patches', scene(images=images, shown=2, patch=(0.99, 0.2)), 'draw_patch_neighbours')
    assert patch == 1 * 8 + 7 and found[1, 0] == 4 and maps[1, 0].argmax() == patch


def test_colours_are_of_the_images_that_are_shown(drawn):
    images = torch.stack([Mosaic().image for _ in range(5)])
    shown, colours = drawn('pca', scene(images=images, shown=3), 'draw_principal')
    assert torch.equal(shown, images[:3]) and colours.shape == (3, 3, 8, 8)


@pytest.fixture
def pqcl(tiny_backbone):
    """Function that builds PQCL with positions in one frame, for views of another size."""
    def build(anchor: str):
        backbone = dict(tiny_backbone, position='sincos', mask_token=True, img_size=64)
        head = dict(num_prototypes=8, hidden_dim=8, bottleneck_dim=4)
        return MODELS.build(dict(type='PQCL', backbone=backbone, head=head, anchor=anchor, masked=False)).eval()
    return build


@pytest.mark.parametrize('anchor', ['corner', 'center'])
def test_queries_are_drawn_where_their_pixels_are(pqcl, anchor, drawn, make_views):
    batch = make_views(masked=False, local=False, query=(2, 16))
    samples = [batch.apply(lambda tensor, i=i: tensor[i] if tensor.ndim == 1 else tensor[:, i]) for i in range(3)]
    dataset = SimpleNamespace(whole_image=lambda index: Image.new('RGB', (64, 64)), crop_boxes=None, __class__=object)
    shown = scene(dataset=dataset, algorithm=pqcl(anchor))
    shown.__dict__['samples'] = samples
    _, _, places, sizes, told = drawn('boxes', shown, 'draw_queries')
    assert places.shape == told.shape == (2, 3, 2, 4, 2) and sizes.shape == (2, 3, 2, 2)
    assert torch.equal(told.flatten(2, 3), shown.algorithm.coordinates(shown.views))
    for v in range(2):
        for b in range(3):
            (vx, vy, vw, vh), mirrored = batch['global'].boxes[v, b].tolist(), batch['global'].flips[v, b]
            for c in range(2):
                (qx, qy, qw, qh), turned = batch['query'].boxes[c, b].tolist(), batch['query'].flips[c, b]
                assert np.allclose(sizes[v, b, c], [qw / 2 / vw, qh / 2 / vh], rtol=1e-5)
                for patch in range(4):
                    row, column = divmod(patch, 2)
                    x = qx + qw * (0.75 - column / 2 if turned else 0.25 + column / 2)  # its centre in the image
                    x, y = (x - vx) / vw, (qy + qh * (0.25 + row / 2) - vy) / vh
                    assert np.allclose(places[v, b, c, patch], [1 - x if mirrored else x, y], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('name, changes, message', [
    ('attention', {}, 'a Colours cannot say where it looks'),
    ('pca', dict(backbone=nn.Sequential(nn.Flatten())), 'a Sequential has no map of places'),
    ('neighbours', {}, 'there is one alone: give more --images'),
    ('patches', {}, 'there is one alone: give more --images'),
    ('matches', {}, 'views are needed, and nothing says which: give the --config'),
    ('crops', {}, 'views are needed'),
    ('crops', dict(dataset=Mosaic(), default_views=True), 'views are needed'),
    ('boxes', dict(dataset=Mosaic()), 'positional queries are those of PQCL'),
    ('reconstruction', {}, 'reconstructions are those of MAE, MaskFeat and BEiT'),
    ('reconstruction', dict(algorithm=SimpleNamespace(pictures=None), untrained='no decoder'), 'no decoder'),
])
def test_what_cannot_be_drawn_is_said_in_a_sentence(name, changes, message):
    with pytest.raises(InputError, match=message) as error:
        PICTURES[name](scene(images=torch.zeros(1, 3, 64, 64, dtype=torch.uint8), shown=1, **changes))
    assert '\n' not in str(error.value)


def test_images_are_chosen_at_even_distances():
    assert spread(1000, 4) == [0, 250, 500, 750] and spread(3, 5) == [0, 1, 2] and spread(7, 3) == [0, 2, 4]


def test_every_picture_of_a_method_is_a_picture(tiny_backbone, tmp_path):
    """Nothing in between replaced: a masked autoencoder on noise."""
    from mmdssl.datasets import ImageFolder
    for i in range(3):
        noise = np.random.default_rng(i).integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f'{i}.png')
    mask = dict(type='BlockMask', patch_size=8, ratio=0.5)
    dataset = ImageFolder(str(tmp_path), views=dict(global_=dict(size=32, scale=(0.5, 1.), num=2, mask=mask)))
    algorithm = MODELS.build(dict(type='MaskFeat', backbone=dict(tiny_backbone, mask_token=True))).eval()
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    shown = Scene(algorithm.backbone, ViewsPreprocessor().normalise, images, 2, dataset, [(0, 0, 0), (0, 0, 1)], algorithm)
    with torch.no_grad():
        found = {name: draw(shown) for name, draw in PICTURES.items() if name != 'boxes'}
    assert all(isinstance(picture, Image.Image) and picture.width <= 1200 for picture in found.values())
