from __future__ import annotations

import errno
import hashlib
import io
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from mmdssl.checkpoint import download
from mmdssl.checkpoint.files import read_checkpoint
from mmdssl.errors import InputError


def checkpoint(value: float) -> bytes:
    stream = io.BytesIO()
    torch.save(dict(weight=torch.full((2, ), value)), stream)
    return stream.getvalue()


class Server(ThreadingHTTPServer):
    """Files by path, with their ETags where they have one; counts what it sent."""
    daemon_threads = True

    def __init__(self):
        super().__init__(('127.0.0.1', 0), Handler)
        self.files: dict[str, bytes] = {}
        self.tags: dict[str, str] = {}
        self.sent: list[str] = []
        self.missing = 0  # bytes that every answer promises but does not have

    def at(self, path: str) -> str:
        return f'http://127.0.0.1:{self.server_address[1]}{path}'


class Handler(BaseHTTPRequestHandler):

    def do_GET(self):
        path = self.path.partition('?')[0]
        if path not in self.server.files:
            self.send_error(404)
            return
        body, tag = self.server.files[path], self.server.tags.get(path)
        if tag and self.headers.get('If-None-Match') == tag:
            self.send_response(304)
            self.end_headers()
            return
        self.server.sent.append(path)
        self.send_response(200)
        self.send_header('Content-Length', str(len(body) + self.server.missing))
        if tag:
            self.send_header('ETag', tag)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))
    monkeypatch.setattr(download, 'TIMEOUT', 5)
    for proxy in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        monkeypatch.delenv(proxy, raising=False)
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def value(address: str) -> float:
    return read_checkpoint(address)['weight'][0].item()


def test_two_addresses_with_one_name_are_two_files(server):
    server.files = {'/a/checkpoint.pth': checkpoint(1), '/b/checkpoint.pth': checkpoint(2)}
    assert [value(server.at(path)) for path in server.files] == [1, 2]
    assert [value(server.at(path)) for path in server.files] == [1, 2]
    assert server.sent == ['/a/checkpoint.pth', '/b/checkpoint.pth'], 'each is downloaded once'


def test_a_query_is_part_of_the_address_and_not_of_the_name(server):
    server.files = {'/checkpoint.pth': checkpoint(1)}
    assert value(server.at('/checkpoint.pth?download=true')) == 1
    assert download.fetch(server.at('/checkpoint.pth?download=true')).suffix == '.pth'


def test_a_new_version_is_downloaded_and_without_a_connection_the_old_one_is_used(server, monkeypatch):
    said = []
    monkeypatch.setattr(download, 'print_log', lambda message, *_: said.append(message))
    path, address = '/checkpoint.pth', server.at('/checkpoint.pth')
    server.files, server.tags = {path: checkpoint(1)}, {path: '"one"'}
    assert [value(address), value(address)] == [1, 1] and len(server.sent) == 1
    server.files, server.tags = {path: checkpoint(2)}, {path: '"two"'}
    assert [value(address), value(address)] == [2, 2] and len(server.sent) == 2
    assert not said
    server.server_close()
    server.shutdown()
    assert value(address) == 2
    assert 'cannot be asked for a newer version' in said[0]


def test_what_arrives_must_have_the_hash_of_its_name_or_of_the_caller(server, tmp_path):
    body = checkpoint(1)
    digits = hashlib.sha256(body).hexdigest()
    right, wrong, dated = f'/net-{digits[:8]}.pth', '/net-0123abcd.pth', '/net-20240131.pth'
    server.files = dict.fromkeys([right, wrong, dated, '/net.pth'], body)
    assert value(server.at(right)) == value(server.at(dated)) == value(server.at(f'/net.pth#sha256={digits}')) == 1
    before = set((tmp_path / 'hub').rglob('*.pth'))
    for address in (wrong, '/net.pth#sha256=0123456789', f'/other{wrong}'):
        server.files[address.partition('#')[0]] = body
        with pytest.raises(InputError, match=r'is not the file that was asked for|SHA-256 begins with'):
            value(server.at(address))
    assert set((tmp_path / 'hub').rglob('*.pth')) == before, 'what is wrong is not kept'
    with pytest.raises(InputError, match='at least 8 hexadecimal digits'):
        value(server.at('/net.pth#md5=12'))


def test_what_is_no_checkpoint_is_not_kept(server, tmp_path):
    server.files = {'/net.pth': b'<html>Please log in</html>'}
    with pytest.raises(InputError, match=r'/net\.pth is not a checkpoint but a web page'):
        value(server.at('/net.pth'))
    server.files = {'/net.pth': checkpoint(1)}
    assert value(server.at('/net.pth')) == 1


def test_errors_of_the_web_are_one_sentence(server, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r'the server answers 404 .*check the address'):
        value(server.at('/none.pth'))
    with pytest.raises(InputError, match='cannot be downloaded'):
        value('http://127.0.0.1:1/net.pth')
    with pytest.raises(InputError, match='cannot be downloaded'):
        value('http:///net.pth')
    server.files, server.missing = {'/net.pth': checkpoint(1)}, 10
    with pytest.raises(InputError, match=r'cut short while it was downloaded|cannot be downloaded'):
        value(server.at('/net.pth'))
    server.missing = 0

    def full(*_, **__):
        raise OSError(errno.ENOSPC, 'No space left on device')
    monkeypatch.setattr('mmdssl.checkpoint.files._to_disk', full)
    with pytest.raises(InputError, match='No space left.*space on the disk'):
        value(server.at('/net.pth'))
    assert not [file for file in (tmp_path / 'hub').rglob('*') if file.is_file() and file.suffix != '.lock']


def test_several_at_a_time_download_once(server):
    server.files = {'/net.pth': checkpoint(1)}
    found = []
    threads = [threading.Thread(target=lambda: found.append(download.fetch(server.at('/net.pth')).read_bytes())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [server.files['/net.pth']] * 4 and server.sent == ['/net.pth']
