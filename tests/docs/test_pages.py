"""Pages find each other, pictures are there and small, and errors that are explained are those of the code."""
from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *sorted((ROOT / 'docs').glob('*.md'))]
SOURCE = '\n'.join(path.read_text() for path in sorted((ROOT / 'mmdssl').rglob('*.py')))


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub makes them, and those that are set by hand."""
    text = re.sub(r'```.*?```', '', page.read_text(), flags=re.DOTALL)
    titles = re.findall(r'^#+ (.*)$', text, re.MULTILINE)
    made = {re.sub(r'[^\w\- ]', '', title.lower()).strip().replace(' ', '-') for title in titles}
    return made | set(re.findall(r'^\((\S+)\)=$', text, re.MULTILINE))


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    for target in re.findall(r'\]\((?!http)([^)\s]+)\)', page.read_text()):
        path, _, anchor = target.partition('#')
        found = (page.parent / path) if path else page
        assert found.is_file(), target
        assert not anchor or anchor in anchors(found), target


def test_every_page_is_in_the_navigation_and_in_the_readme():
    pages = {page.stem for page in (ROOT / 'docs').glob('*.md')} - {'index'}
    listed = re.findall(r'```\{toctree\}\n(.*?)```', (ROOT / 'docs/index.md').read_text(), re.DOTALL)
    names = [line for part in listed for line in part.splitlines() if re.fullmatch(r'[\w-]+', line)]
    assert sorted(names) == sorted(pages)
    table = (ROOT / 'README.md').read_text().partition('## Documentation')[2]
    assert set(re.findall(r'\]\(docs/([\w-]+)\.md\)', table)) == pages - {'contributing'}


def test_pictures_are_small_and_all_shown():
    pictures = sorted((ROOT / 'docs/pictures').iterdir())
    assert sum(picture.stat().st_size for picture in pictures) < 300_000
    text = ''.join(page.read_text() for page in PAGES)
    assert all(f'pictures/{picture.name}' in text for picture in pictures)


def test_errors_that_are_explained_are_those_of_the_code():
    ours = (ROOT / 'docs/questions.md').read_text().partition('## OpenMMLab')[0]
    headings = re.findall(r'^### `(.*)`$', ours, re.MULTILINE)
    assert len(headings) > 15
    code = re.sub(r"""['"]\s*\n\s*f?['"]""", '', SOURCE)  # sentences over several lines
    for heading in headings:
        for part in heading.split('...'):
            assert part.strip(' ,:') in code, heading
