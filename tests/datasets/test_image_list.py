from __future__ import annotations

import pytest

from mmdssl.datasets import ImageList
from mmdssl.errors import InputError

VIEWS = {'global': dict(size=16, scale=(.14, 1.))}


def paths(dataset) -> list[str]:
    return [dataset.get_data_info(index)['img_path'] for index in range(len(dataset))]


def test_list_in_its_own_folder(image_root):
    (image_root / 'list.txt').write_text('# my images\nsecond/deep/07.png\n\n  first/02.png  \n')
    expected = [str(image_root / 'second/deep/07.png'), str(image_root / 'first/02.png')]
    assert paths(ImageList(str(image_root / 'list.txt'), views=VIEWS)) == expected
    assert paths(ImageList('list.txt', str(image_root), views=VIEWS)) == expected


def test_list_elsewhere(image_root, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp('lists') / 'list.txt'
    elsewhere.write_text(f'02.png\n{image_root}/second/deep/07.png')
    dataset = ImageList(str(elsewhere), str(image_root / 'first'), views=VIEWS)
    assert paths(dataset) == [str(image_root / 'first/02.png'), str(image_root / 'second/deep/07.png')]
    assert dataset[1]['global'].images.shape == (1, 3, 16, 16)


def test_missing_images_are_counted_and_named_once(image_root):
    (image_root / 'list.txt').write_text('first/02.png\n' + ''.join(f'no{i}.png\n' for i in range(5)))
    with pytest.raises(InputError, match=r'5 of the 6 images.*no0\.png.*no2\.png: check') as error:
        ImageList(str(image_root / 'list.txt'), views=VIEWS)
    assert 'no3.png' not in str(error.value)


def test_missing_empty_or_binary_list_is_an_input_error(image_root):
    with pytest.raises(InputError, match="absent.txt' does not exist: set ann_file"):
        ImageList(str(image_root / 'absent.txt'), views=VIEWS)
    with pytest.raises(InputError, match='cannot be read, line 1 is no text in UTF-8'):
        ImageList(str(image_root / 'first/02.png'), views=VIEWS)
    (image_root / 'list.txt').write_text('# nothing yet\n')
    with pytest.raises(InputError, match='names no image'):
        ImageList(str(image_root / 'list.txt'), views=VIEWS)
