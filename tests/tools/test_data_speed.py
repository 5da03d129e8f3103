from __future__ import annotations

from mmdssl.results.records import read_records


def test_it_compares_every_way_and_records_it(load_tool, tmp_path, monkeypatch, capsys):
    tool, out = load_tool('analysis/data_speed'), tmp_path / 'out.jsonl'
    monkeypatch.setattr(tool, 'SMALL', (60, 40))
    monkeypatch.setattr(tool, 'BATCH', 2)
    monkeypatch.setattr('sys.argv', ['data_speed.py', '--rounds', '1', '--images', '2', '--views', '2', '--large', '900', '900',
                                     '--out', str(out)])
    assert tool.main() == 0
    records = read_records(out)
    assert [(record['images'], record['way']) for record in records] == [
        (size, way) for size in ('60 x 40', '900 x 900') for way in ('authors', 'pillow', 'fast', 'device', 'finish')]
    assert all(record['lowest'] <= record['ratio'] <= record['highest'] for record in records)
    assert [record['ratio'] for record in records if record['way'] == 'authors'] == [1., 1.]
    assert '900 x 900' in capsys.readouterr().out
