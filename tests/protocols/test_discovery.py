from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from colours import ColourBackbone, make_colours
from torchvision.ops import box_iou

from mmdssl.datasets import CocoBoxes, VOCBoxes
from mmdssl.datasets.object_boxes import read_voc_boxes
from mmdssl.errors import InputError
from mmdssl.protocols import LOST, AttentionDiscovery, CorLocMetric, TokenCut
from mmdssl.protocols.discovery import box_of, component, largest_component, lost, normalized_cut, pad_to_patches


def flood(mask: np.ndarray, start: tuple[int, int]) -> set[tuple[int, int]]:
    """What of a mask is connected to a cell by edges, cell by cell."""
    found, todo = set(), [start]
    while todo:
        y, x = todo.pop()
        if (y, x) not in found and 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1] and mask[y, x]:
            found.add((y, x))
            todo += [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
    return found


def features(number: int, groups: int = 3, dim: int = 6, noise: float = 0.7) -> torch.Tensor:
    return torch.randn(groups, dim)[torch.randint(groups, (number, ))] + noise * torch.randn(number, dim)


@pytest.mark.parametrize('number, voters', [(40, 100), (130, 100), (60, 7)])
def test_lost_equals_a_loop_in_double_precision(number, voters):
    patches = features(number)
    found, seed = lost(patches, voters)
    rows = patches.double().tolist()
    products = [[sum(a * b for a, b in zip(one, other)) for other in rows] for one in rows]
    degrees = [sum(products[i][j] > 0 for j in range(number) if j != i) for i in range(number)]
    order = sorted(range(number), key=lambda i: degrees[i])
    votes = [p for p in order[:voters] if products[order[0]][p] > 0]
    assert seed == order[0]
    assert found.tolist() == [sum(products[v][j] for v in votes) > 0 for j in range(number)]


@pytest.mark.parametrize('number, threshold', [(30, 0.2), (96, 0.2), (96, 0.6)])
def test_the_cut_equals_scipys_generalised_eigenproblem(number, threshold):
    patches = features(number)
    vector, side, seed = normalized_cut(patches, threshold)
    rows = patches.double().numpy()
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    graph = np.array([[1. if float(one @ other) > threshold else 1e-5 for other in rows] for one in rows])
    degrees = np.diag(graph.sum(1))
    values, vectors = scipy.linalg.eigh(degrees - graph, degrees)
    expected = vectors[:, 1]
    assert values[2] - values[1] > 1e-6, 'else the second eigenvector is any of a plane'
    largest = np.abs(expected).max()
    assert seed == min(i for i in range(number) if abs(expected[i]) > largest * (1 - 1e-9))
    expected = expected * np.sign(expected[seed])
    assert vector.numpy() / vector.norm().item() == pytest.approx(expected / np.linalg.norm(expected), abs=1e-8)
    assert side.tolist() == (expected > expected.mean()).tolist() and side[seed] and vector[seed] > 0


def test_patches_that_are_all_the_same_have_some_box():
    for patches in (torch.ones(12, 4), torch.zeros(12, 4), torch.ones(1, 4)):
        for found, seed in (lost(patches), normalized_cut(patches)[1:]):
            mask = component(found.view(1, -1), seed)
            assert found[seed] and mask[0, seed] and box_of(mask, 8, (8, 8 * len(patches)))[2] > 0


def test_components_and_boxes_equal_a_flood():
    mask = torch.rand(9, 11) < 0.5
    for seed in mask.flatten().nonzero().flatten()[:5].tolist():
        cells = flood(mask.numpy(), divmod(seed, 11))
        found = component(mask, seed)
        assert {tuple(cell) for cell in found.nonzero().tolist()} == cells
        rows, columns = zip(*cells)
        box = [8 * min(columns), 8 * min(rows), min(8 * max(columns) + 8, 85), min(8 * max(rows) + 8, 66)]
        assert box_of(found, 8, (66, 85)).tolist() == box
    sizes = [len(flood(mask.numpy(), divmod(seed, 11))) for seed in mask.flatten().nonzero().flatten().tolist()]
    assert largest_component(mask).sum() == max(sizes)


def test_images_are_padded_with_zeros_below_and_right():
    for height, width in ((17, 24), (24, 23), (16, 24)):
        image = torch.randn(1, 3, height, width)
        padded = pad_to_patches(image, 8)
        assert padded.shape[2:] == (-(-height // 8) * 8, 24) and torch.equal(padded[..., :height, :width], image)
        assert not padded[..., height:, :].any() and not padded[..., width:].any()


def test_keys_are_those_of_the_last_block(tiny_backbone):
    model = LOST(tiny_backbone)
    images, inputs = torch.randn(1, 3, 24, 32), []
    model.backbone.blocks[-1].attn.qkv.register_forward_hook(lambda module, given, output: inputs.append(output))
    with torch.no_grad():
        patches, grid = model.patches(images)
        model.backbone(images)
    assert grid == (3, 4) and torch.equal(patches, inputs[-1][0, 1:, 16:32])


def corloc(model, dataset) -> dict[str, float]:
    metric, samples = CorLocMetric(), [dataset[i] for i in range(len(dataset))]
    predictions = model(samples)
    metric.process(samples, predictions)
    found = metric.compute_metrics(metric.results)
    best = [float(box_iou(p['box'][None], s['boxes']).max()) for s, p in zip(samples, predictions)]
    assert found == pytest.approx(dict(corloc=100 * np.mean([each >= 0.5 for each in best]), box_iou=100 * np.mean(best)))
    return found


@pytest.mark.parametrize('method', [LOST, TokenCut, partial(AttentionDiscovery, mass=0.99)], ids=['lost', 'tokencut', 'attention'])
def test_perfect_features_find_every_object_and_shuffled_ones_hardly_any(method, tmp_path):
    for objects in (1, 2):
        dataset = VOCBoxes(str(make_colours(tmp_path / str(objects), objects=objects)))
        assert corloc(method(dict(type=ColourBackbone)), dataset) == dict(corloc=100., box_iou=pytest.approx(100))
    dataset = VOCBoxes(str(make_colours(tmp_path / 'many', number=24)))
    found = corloc(method(dict(type=ColourBackbone, shuffled=True)), dataset)
    assert found['corloc'] < 15 and found['box_iou'] < 30


def test_corloc_counts_pixels_and_leaves_out_images_without_boxes(caplog):
    boxes = torch.tensor([[2., 3, 12, 9], [0, 0, 5, 5]])
    batch = [dict(boxes=boxes), dict(boxes=torch.zeros(0, 4)), dict(boxes=boxes[:1])]
    predicted = torch.tensor([4., 2, 13, 8])
    covered = np.zeros((2, 20, 20), bool)
    for cover, (left, upper, right, lower) in zip(covered, (boxes[0].int().tolist(), predicted.int().tolist())):
        cover[upper:lower, left:right] = True
    overlap = 100 * covered.all(0).sum() / covered.any(0).sum()
    metric = CorLocMetric()
    metric.process(batch, [dict(box=predicted)] * 3)
    assert metric.compute_metrics(metric.results) == pytest.approx(dict(corloc=100 if overlap >= 50 else 0, box_iou=overlap))
    half = CorLocMetric()
    half.process([dict(boxes=torch.tensor([[0., 0, 8, 8]]))], [dict(box=torch.tensor([0., 0, 8, 4]))])
    assert half.compute_metrics(half.results)['corloc'] == 100, 'an IoU of exactly 0.5 is enough'
    with pytest.raises(InputError, match='no image has a box'):
        metric.compute_metrics([float('nan')])


def test_what_a_backbone_or_an_image_cannot_do_is_said(tiny_backbone):
    with pytest.raises(InputError, match='80 x 80 pixels has 100 patches, whose eigenvectors need about 0.0 GB: set max_side'):
        TokenCut(tiny_backbone, max_patches=99)([dict(image=torch.zeros(3, 75, 79, dtype=torch.uint8))])
    with pytest.raises(InputError, match='has no patch_size'):
        LOST(dict(type='mmdssl.TimmBackbone', name='resnet10t'))
    with pytest.raises(InputError, match="has read='mean': set it to 'patches'"):
        TokenCut(tiny_backbone, extractor=dict(facet='key', read='mean'))
    with pytest.raises(InputError, match='head=2, and the backbone has 2'):
        AttentionDiscovery(tiny_backbone, head=2)([dict(image=torch.zeros(3, 32, 32, dtype=torch.uint8))])
    with pytest.raises(InputError, match='has no attention_maps'):
        AttentionDiscovery(dict(type='mmdssl.TimmBackbone', name='vit_tiny_patch16_224', model_args=dict(depth=1)))


def test_boxes_of_voc_are_in_pixels_and_difficult_ones_count(tmp_path):
    dataset = VOCBoxes(str(make_colours(tmp_path / 'voc', number=2)))
    for i in range(2):
        sample = dataset[i]
        rows, columns = np.nonzero(sample['image'][0].numpy())
        assert sample['boxes'].tolist() == [[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]]
    small = VOCBoxes(str(tmp_path / 'voc'), max_side=40)[0]
    height, width = dataset[0]['image'].shape[1:]
    assert max(small['image'].shape[1:]) == 40 == small['image'].shape[2]
    ratio = [40 / width, small['image'].shape[1] / height] * 2
    assert small['boxes'][0].tolist() == pytest.approx((dataset[0]['boxes'][0] * torch.tensor(ratio)).tolist())


def test_what_is_wrong_with_voc_is_said(tmp_path):
    root = make_colours(tmp_path / 'voc', number=3)
    with pytest.raises(InputError, match="val.txt' does not exist: set data_root to the folder of one year of VOC"):
        VOCBoxes(str(root), 'val')
    (root / 'JPEGImages/01.jpg').write_bytes(b'no image')
    with pytest.raises(InputError, match="01.jpg' cannot be decoded"):
        VOCBoxes(str(root))[1]
    (root / 'Annotations/02.xml').write_text('<annotation><object/></annotation>')
    with pytest.raises(InputError, match="02.xml' is no annotation of VOC"):
        VOCBoxes(str(root))
    (root / 'Annotations/02.xml').write_text('<annotation>')
    with pytest.raises(InputError, match="02.xml' is no annotation of VOC"):
        VOCBoxes(str(root))
    (root / 'Annotations/02.xml').unlink()
    with pytest.raises(InputError, match='1 of the 6 images and annotations of .*trainval.txt.* do not exist, first .*02.xml'):
        VOCBoxes(str(root))
    (root / 'ImageSets/Main/trainval.txt').write_text('')
    with pytest.raises(InputError, match='names no image'):
        VOCBoxes(str(root))


def test_boxes_of_voc_that_are_none_are_said(tmp_path):
    def read(*box, size='<size><width>40</width><height>30</height></size>'):
        sides = ''.join(f'<{side}>{value}</{side}>' for side, value in zip(('xmin', 'ymin', 'xmax', 'ymax'), box))
        (tmp_path / '0.xml').write_text(f'<annotation>{size}<object><bndbox>{sides}</bndbox></object></annotation>')
        return read_voc_boxes(tmp_path / '0.xml')
    assert read(1, 1, 40, 30) == [[0, 0, 40, 30]]
    assert read(7, 9, 7, 9) == [[6, 8, 7, 9]], 'the last pixel is in the box'
    assert read(0, 0, 41, 31) == [[-1, -1, 41, 31]], 'a pixel beyond is usual'
    assert read(2, 2, 400, 300, size='') == [[1, 1, 400, 300]]
    for box in [('nan', 1, 9, 9), (1, 1, 'inf', 9), (9, 1, 8, 9), (1, 9, 9, 8), (-1, 1, 9, 9), (1, 1, 42, 9), (1, 1, 9, 32)]:
        with pytest.raises(InputError, match=rf"0.xml' has the box \({', '.join(map(str, box))}\), .* of 40 x 30 pixels: correct it"):
            read(*box)
    with pytest.raises(InputError, match='whose size it does not say'):
        read(1, 1, 'inf', 9, size='')


def coco_boxes(root: Path, **kwargs) -> CocoBoxes:
    return CocoBoxes(**{**dict(ann_file='annotations.json', data_prefix=dict(img='images'), data_root=str(root)), **kwargs})


def test_boxes_of_coco_are_whole_pixels_without_crowds_in_the_order_of_the_list(coco_root):
    coco = json.loads((coco_root / 'annotations.json').read_text())
    coco['annotations'].append(dict(id=99, image_id=0, category_id=3, bbox=[0, 0, 30, 30], area=900, iscrowd=1))
    coco['annotations'][0]['bbox'] = [4.4, 5.6, 10.3, 10.3]
    (coco_root / 'annotations.json').write_text(json.dumps(coco))
    dataset = coco_boxes(coco_root)
    assert [sample['boxes'].tolist() for sample in dataset] == [[[4, 6, 15, 16]], [[20, 10, 35, 25]], [[30, 20, 50, 40]], []]
    (coco_root / 'list.txt').write_text('train2014/2.png\nimages/0.png\n')
    listed = coco_boxes(coco_root, image_list='list.txt')
    assert [Path(sample['img_path']).name for sample in listed] == ['2.png', '0.png']
    assert listed[1]['boxes'].tolist() == [[4, 6, 15, 16]]


def test_what_is_wrong_with_coco_is_said(coco_root):
    with pytest.raises(InputError, match="list.txt' does not exist: set image_list to the list"):
        coco_boxes(coco_root, image_list='list.txt')
    (coco_root / 'list.txt').write_text('0.png\n9.png\n')
    with pytest.raises(InputError, match="names 1 images that .* does not have, first '9.png'"):
        coco_boxes(coco_root, image_list='list.txt')
    (coco_root / 'list.txt').write_text('\n')
    with pytest.raises(InputError, match='names no image'):
        coco_boxes(coco_root, image_list='list.txt')
    with pytest.raises(InputError, match="other.json' cannot be opened"):
        coco_boxes(coco_root, ann_file='other.json')
    (coco_root / 'images/3.png').unlink()
    with pytest.raises(InputError, match='1 of the 4 images of .* do not exist, first .*3.png'):
        coco_boxes(coco_root)


def test_boxes_of_real_photos_lie_in_them(real_data):
    root = real_data / 'tinycoco'
    dataset = CocoBoxes('annotations/instances_train2017.json', dict(img='images/train2017'), str(root), max_side=192)
    coco = json.loads((root / 'annotations/instances_train2017.json').read_text())
    samples = [dataset[i] for i in range(len(dataset))]
    assert sum(len(sample['boxes']) for sample in samples) == sum(not found['iscrowd'] for found in coco['annotations'])
    for sample in samples:
        height, width = sample['image'].shape[1:]
        boxes = sample['boxes']
        assert max(height, width) == 192 and (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= torch.tensor([width, height]) + 1e-3).all()


def test_corloc_from_the_command_line_with_one_process_and_two(tmp_path, tiny_backbone, tiny_weights, evaluated):
    root = make_colours(tmp_path / 'voc', number=5)
    found = evaluated('configs/dense/tokencut_voc07.py', root)
    assert evaluated('configs/dense/tokencut_voc07.py', root, processes=2) == found
    model = TokenCut(dict(tiny_backbone, init_cfg=dict(type='SSLPretrained', checkpoint=str(tiny_weights))))
    assert found == pytest.approx(corloc(model, VOCBoxes(str(root))), abs=1e-3)
