from __future__ import annotations

import json

import pytest

from mmdssl.datasets import CocoImages
from mmdssl.errors import InputError

VIEWS = {'global': dict(size=32, scale=(.25, 1.), num=2), 'query': dict(size=16, scale=(.05, .25))}


def write(root, content) -> None:
    (root / 'instances.json').write_text(json.dumps(content))


def test_images_of_the_json(image_root):
    write(image_root, dict(images=[dict(id=9, file_name='05.png'), dict(id=3, file_name='01.png')], annotations=[]))
    dataset = CocoImages('instances.json', dict(img='first/'), str(image_root), views=VIEWS)
    assert [dataset.get_data_info(i)['img_path'] for i in range(2)] == [
        str(image_root / 'first/05.png'), str(image_root / 'first/01.png')]
    assert dataset[1]['query'].images.shape == (1, 3, 16, 16)


def test_wrong_prefix_names_the_missing_images(image_root):
    write(image_root, dict(images=[dict(file_name='05.png')]))
    with pytest.raises(InputError, match='1 of the 1 images.*05.png.*prefix'):
        CocoImages('instances.json', data_root=str(image_root), views=VIEWS)
    with pytest.raises(InputError, match=r'dict\(img='):
        CocoImages('instances.json', dict(img_path='first'), str(image_root), views=VIEWS)


@pytest.mark.parametrize('content', [{}, [], dict(images=[dict(id=1)]), dict(images=[])])
def test_what_is_no_coco_json_is_an_input_error(image_root, content):
    write(image_root, content)
    with pytest.raises(InputError, match='instances.json'):
        CocoImages('instances.json', data_root=str(image_root), views=VIEWS)
    with pytest.raises(InputError, match='absent.json'):
        CocoImages('absent.json', data_root=str(image_root), views=VIEWS)


def test_tinycoco_gives_views(real_data):
    dataset = CocoImages('annotations/instances_train2017.json', dict(img='images/train2017'),
                         str(real_data / 'tinycoco'), views=VIEWS)
    assert len(dataset) == 32
    for index in range(0, 32, 4):
        assert dataset[index]['global'].images.shape == (2, 3, 32, 32)
