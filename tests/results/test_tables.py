from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from rich.console import Console

from mmdssl.results.published import published_rows
from mmdssl.results.tables import DASH, Row, Section, Spread, compare, improvement, number, to_html, to_markdown, to_text

NASTY = '<b>[red]a|b* & "c"'
METRICS = {'box_AP': 41.2345, 'box_AP50': 62.5, 'box_AP75': 44.1, 'mask_AP': 37.9, 'mask_AP50': 59.8, 'mask_AP75': 40.2,
           'box_APL': -100., 'box_APS': 21.7}


def record(**fields) -> dict:
    return {**dict(task='detection', dataset_name='coco', framework='mask-rcnn-1x', backbone='vit-s/16',
                   metrics=METRICS, weights='pretrained', weights_name='run/backbone.safetensors'), **fields}


def plain(sections) -> str:
    console = Console(width=200, record=True, file=open('/dev/null', 'w'))
    console.print(to_text(sections))
    return console.export_text()


class Cells(HTMLParser):
    """The text of a page, by the element it is in."""

    def __init__(self, page: str):
        super().__init__()
        self.open, self.texts, self.tags = [], {}, []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        while self.open.pop() != tag:
            pass

    def handle_data(self, data):
        self.texts.setdefault(self.open[-1] if self.open else '', []).append(data)


def test_ours_come_first_then_the_published_rows_of_the_same_setting():
    section, = compare([record(weights='random'), record(pretrain_method='PQCL', pretrain_epochs=400)])
    published = published_rows('detection', 'coco', 'mask-rcnn-1x', 'vit-s/16')
    assert [row.cells[0] for row in section.rows] == [
        'random weights', 'PQCL (run/backbone.safetensors)', *(row['method'] for row in published)]
    assert [row.ours for row in section.rows] == [True, True] + [False] * len(published)
    epochs = [row.cells[1] for row in section.rows]
    assert epochs[:2] == [DASH, '400'] and epochs[2:] == [str(row.get('pretrain_epochs', DASH)) for row in published]


def test_a_section_per_evaluation():
    segmentation = record(task='segmentation', dataset_name='ade20k', framework='fpn-40k', metrics=dict(mIoU=40.))
    sections = compare([record(), record(framework='cascade-rcnn-1x'), record(), segmentation])
    assert [section.title for section in sections] == [
        'detection, coco, mask-rcnn-1x, vit-s/16', 'detection, coco, cascade-rcnn-1x, vit-s/16',
        'segmentation, ade20k, fpn-40k, vit-s/16']
    assert sum(row.ours for row in sections[0].rows) == 2


def test_every_form_has_every_number_of_a_record_and_of_the_published_rows():
    sections = compare([record()])
    numbers = {number(name, value) for name, value in METRICS.items()} | {
        number(name, value) for row in published_rows('detection', 'coco', 'mask-rcnn-1x', 'vit-s/16')
        for name, value in row['metrics'].items()}
    assert '41.2' in numbers and DASH in numbers  # COCO says -1 where there are no such objects
    cells = Cells(to_html(sections, 'A title')).texts['td']
    for form in (plain(sections), to_markdown(sections, 'A title'), ' '.join(cells)):
        assert numbers <= set(re.findall(r'[\d.]+|–', form))


def test_missing_cells_are_dashes():
    section, = compare([record(metrics=dict(box_AP=41.))])
    adclr = next(row for row in section.rows if row.cells[0] == 'ADCLR')
    assert adclr.cells[1:] == ['300', '44.3', DASH, DASH, '39.7', DASH, DASH]
    assert section.rows[0].cells[2:] == ['41.0', DASH, DASH, DASH, DASH, DASH]


def test_source_and_doubts_of_a_row_are_a_footnote_that_like_rows_share():
    section, = compare([record()])
    adclr, moco = (next(row for row in section.rows if row.cells[0] == name) for name in ('ADCLR', 'MoCo-v3'))
    assert 'ICLR 2023, Abstract (Table 3)' in adclr.note and 'epochs, backbone inferred' in adclr.note
    assert moco.note == 'Zhang, Zhou, Wang, Wang, Yan: PQCL, ICML 2023, Table 2'
    assert section.notes == [adclr.note, moco.note]
    assert section.marked(adclr)[0] == 'ADCLR [1]' and section.marked(section.rows[-1])[0].endswith(' [2]')
    for form in (plain([section]), to_html([section], 't'), to_markdown([section], 't')):
        assert 'epochs, backbone inferred' in form


def test_recalled_rows_are_marked_wherever_rows_are_printed():
    """With a dagger at the method, and what it means below the table; read ones are not, and a table without any says nothing of it."""
    linear = record(task='linear-leopart', dataset_name='voc12', framework=None, metrics=dict(mIoU_leopart=60.), setting=dict(mask=100))
    section, = compare([linear])
    recalled = {row['method'] for row in published_rows('linear-leopart', 'voc12', None, 'vit-s/16') if row.get('mark') == 'recalled'}
    assert recalled == {'DINO'}
    assert {row.cells[0] for row in section.rows if '†' in row.cells[0]} == {'DINO †'}
    assert {'Leopart', 'CrOC', 'NeCo on DINO'} <= {row.cells[0] for row in section.rows}
    assert section.sentences == ['† Recalled, not read in its source: check it before it is quoted.']
    assert section.rows[0].note == 'mask: 100' and 'as of 393216026b4d' in ' '.join(section.notes)
    for form in (plain([section]), to_html([section], 't'), to_markdown([section], 't')):
        assert 'DINO †' in form and '† Recalled' in form
    assert not compare([record()])[0].sentences


def test_a_row_of_a_thread_says_so():
    section, = compare([record(task='linear-ibot', dataset_name='ade20k', framework=None, backbone='vit-b/16', metrics=dict(mIoU=30.))])
    assert 'issues of bytedance/ibot, issue 18; in a thread' in section.notes[0]


def test_what_was_changed_in_our_recipe_is_a_footnote():
    section, = compare([record(changes=['train_cfg.max_epochs=1', '--amp bf16']), record(changes=[])])
    assert [row.note for row in section.rows[:2]] == ['with train_cfg.max_epochs=1, --amp bf16', '']


def test_what_needs_no_network_has_a_row_between_ours_and_the_published_ones():
    still = {'first mask copied': {'J&F': 41.5, 'J': 40.}}
    fields = dict(task='video-segmentation', dataset_name='davis-2017', framework=None, metrics={'J&F': 60.}, details=dict(baseline=still))
    section, = compare([record(**fields), record(**fields)])
    assert [row.cells[0] for row in section.rows[:3]] == ['run/backbone.safetensors'] * 2 + ['first mask copied'] and len(section.rows) > 3
    assert [section.rows[2].cells[section.columns.index(name)] for name in ('epochs', 'J&F', 'J', 'F')] == [DASH, '41.5', '40.0', DASH]


@pytest.mark.parametrize('name, value, text', [
    ('mIoU', 38.25, '38.2'), ('mIoU', None, DASH), ('box_APL', -100., DASH), ('J_decay', -3.42, '-3.4'),
    ('seconds_per_frame', 0.13752, '0.138'), ('rmse', 0.4032, '0.403')])
def test_number(name, value, text):
    assert number(name, value) == text


@pytest.fixture
def nasty() -> list[Section]:
    return [Section(NASTY, [NASTY, 'x_y'], [Row([NASTY, '1.0'], ours=True, note=NASTY)], [NASTY])]


def test_html_shows_any_text_as_it_is(nasty):
    page = to_html(nasty, NASTY)
    cells = Cells(page)
    for tag in ('title', 'h1', 'h2', 'li', 'p'):
        assert ''.join(cells.texts[tag]) == NASTY
    assert ''.join(cells.texts['td']) == f'{NASTY} [1]1.0'
    assert 'b' not in dict(cells.tags) and ('tr', {'class': 'ours'}) in cells.tags
    assert not re.search(r'(src|href)=|url\(|@import|<script', page)


def test_markdown_shows_any_text_as_it_is(nasty):
    lines = to_markdown(nasty, NASTY).splitlines()
    table = [line for line in lines if line.startswith('|')]
    assert [len(re.findall(r'(?<!\\)\|', line)) for line in table] == [3, 3, 3]
    assert not any(re.search(r'(?<!\\)[<\[]', line) for line in lines)
    shown = re.sub(r'\\(.)', r'\1', table[-1])
    assert shown == f'| **{NASTY} [1]** | **1.0** |'


def test_text_shows_any_text_as_it_is(nasty):
    assert plain(nasty).count(NASTY) == 5


@pytest.mark.parametrize('name, before, after, said', [
    *((name, 40., 42.5, '+2.5') for name in (
        'mIoU_hbird', 'mIoU_k500', 'mIoU_ridge', 'accuracy_clean', 'corloc', 'box_iou', 'maxF_bilateral', 'IoU', 'jaccard_merged',
        'PCK@0.1', 'PCK_probe3d_view0', 'found', 'context4/J&F', 'context4/PCK@0.2', 'F_mean', 'delta1', 'position_r2',
        'position_r2_row_2', 'knn20_top1', 'mAP_medium', 'mIoU', 'box_AP', 'mask_AP50')),
    ('mIoU_clean', 42.5, 40., '-2.5'),
    ('rmse', 0.9, 0.75, '+0.15'), ('rmse_pooled', 0.75, 0.9, '-0.15'), ('abs_rel', 0.25, 0.2, '+0.05'), ('J_decay', 12., 10., '+2.0'),
    *((name, 1., 2., DASH) for name in ('ridge_log10_shrinkage', 'position_directions', 'seconds_per_frame', 'videos', 'masks')),
    ('mIoU', None, 3., DASH), ('mIoU', 12.46, 12.64, '+0.1'), ('J&F', 20.04, 19.96, '+0.0'),
    ('mIoU', Spread(12.46, 1.), Spread(12.64, 2.), '+0.1'),
])
def test_what_is_better_is_a_gain(name, before, after, said):
    """Also of an error, which is better the less it is."""
    assert improvement(name, before, after) == said
