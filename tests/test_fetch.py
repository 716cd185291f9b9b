import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from reliquant.fetch import FetchError, download, fetch
from reliquant.images import Source
from reliquant.records import DamagedFile

BODY = np.random.default_rng(0).integers(0, 256, 300_000, dtype=np.uint8).tobytes()
QUICK = {"stall": 0.5, "pause": 0.01}


class Server(ThreadingHTTPServer):
    """A real server on loopback that misbehaves as `plan` says, one behaviour a request, the last one for ever."""

    daemon_threads = True

    def __init__(self, body=BODY):
        self.body, self.plan, self.ranges = body, ["good"], []
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def url(self, name="file.bin"):
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        server = self.server
        behaviour = server.plan.pop(0) if len(server.plan) > 1 else server.plan[0]
        asked = self.headers.get("Range")
        server.ranges.append(asked)
        if isinstance(behaviour, int):
            self.send_response(behaviour)
            self.send_header("Retry-After", "0")
            self.end_headers()
            return
        start = int(asked[6:-1]) if asked and behaviour != "no ranges" else 0
        body = {"wrong": b"x" * len(BODY), "page": b"<html>moved</html>", "long": server.body * 2}.get(
            behaviour, server.body
        )
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        if behaviour in ("truncated", "stalled"):
            self.wfile.write(body[start : start + 100_000])
            self.wfile.flush()
            if behaviour == "stalled":
                time.sleep(1.0)
            return
        self.wfile.write(body[start:])


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    made = Server()
    yield made
    made.shutdown()
    made.server_close()


def source(server, body=BODY, **more):
    words = {"url": server.url(), "sha256": hashlib.sha256(body).hexdigest(), "bytes": len(body), "licence": "free"}
    return Source(**{**words, **more})


def test_a_file_comes_whole_and_is_not_fetched_twice(server, tmp_path):
    path = download(source(server), tmp_path, **QUICK)
    assert path.read_bytes() == BODY
    assert [p.name for p in tmp_path.iterdir()] == ["file.bin"]
    download(source(server), tmp_path, **QUICK)
    assert len(server.ranges) == 1


@pytest.mark.parametrize("trouble", ["truncated", "stalled"])
def test_a_broken_connection_is_resumed_where_it_broke(server, tmp_path, trouble):
    server.plan = [trouble, trouble, "good"]
    assert download(source(server), tmp_path, **QUICK).read_bytes() == BODY
    assert server.ranges == [None, "bytes=100000-", "bytes=200000-"]


def test_a_server_without_ranges_starts_over(server, tmp_path):
    server.plan = ["truncated", "no ranges"]
    assert download(source(server), tmp_path, **QUICK).read_bytes() == BODY


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.plan = [503, 429, "good"]
    assert download(source(server), tmp_path, **QUICK).read_bytes() == BODY


def test_tries_are_bounded(server, tmp_path):
    server.plan = [503]
    with pytest.raises(FetchError, match=r"file\.bin: given up after 3 tries: .*503"):
        download(source(server), tmp_path, tries=3, **QUICK)
    assert len(server.ranges) == 3


def test_a_missing_file_is_not_asked_for_again(server, tmp_path):
    server.plan = [404]
    with pytest.raises(FetchError, match=r"file\.bin: the server answers 404"):
        download(source(server), tmp_path, **QUICK)
    assert len(server.ranges) == 1


def test_a_wrong_file_is_refused_and_not_kept(server, tmp_path):
    server.plan = ["wrong"]
    with pytest.raises(DamagedFile, match=r"its sha256 is .*another file, or altered"):
        download(source(server), tmp_path, **QUICK)
    assert not list(tmp_path.iterdir())


def test_a_longer_file_is_refused_and_not_kept(server, tmp_path):
    server.plan = ["long"]
    with pytest.raises(DamagedFile, match="has more than the 300000 bytes published"):
        download(source(server), tmp_path, **QUICK)
    assert not list(tmp_path.iterdir())


def test_a_page_in_place_of_the_file_is_refused(server, tmp_path):
    server.plan = ["page"]
    with pytest.raises((FetchError, DamagedFile), match=r"file\.bin"):
        download(source(server), tmp_path, tries=2, **QUICK)
    assert not (tmp_path / "file.bin").exists()


def test_a_killed_download_goes_on_and_a_foreign_rest_is_dropped(server, tmp_path):
    part = tmp_path / ".file.bin.part"
    part.write_bytes(BODY[:123_456])
    assert download(source(server), tmp_path, **QUICK).read_bytes() == BODY
    assert server.ranges == ["bytes=123456-"]
    (tmp_path / "file.bin").unlink()
    part.write_bytes(b"z" * 1000)
    assert download(source(server), tmp_path, **QUICK).read_bytes() == BODY


def test_no_server_is_said(tmp_path, server):
    gone = source(server, url="http://127.0.0.1:9/file.bin")
    with pytest.raises(FetchError, match="given up after 2 tries"):
        download(gone, tmp_path, tries=2, **QUICK)
    with pytest.raises(ValueError, match="only http and https"):
        download(source(server, url="file:///etc/passwd"), tmp_path)


def test_too_little_space_is_said_before_the_download(server, tmp_path):
    with pytest.raises(FetchError, match=r"needs \d+\.\d GiB"):
        download(source(server, bytes=2**60), tmp_path)
    assert not server.ranges


def test_archives_are_unpacked_and_facts_recorded(server, tmp_path):
    import io
    import tarfile

    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        info = tarfile.TarInfo("set/a.txt")
        info.size = 5
        tar.addfile(info, io.BytesIO(b"hello"))
    server.body = file.getvalue()
    one = source(server, server.body, url=server.url("set.tar.gz"), unpack=True)
    facts = fetch([one], tmp_path, **QUICK)
    assert (tmp_path / "set" / "a.txt").read_text() == "hello"
    assert [p.name for p in tmp_path.iterdir()] == ["set"]
    assert facts == [{"url": one.url, "sha256": one.sha256, "bytes": one.bytes, "licence": "free", "unpack": True}]


def test_the_step_writes_what_was_fetched(server, tmp_path, monkeypatch):
    plugin = tmp_path / "loopback_set.py"
    plugin.write_text(
        "from reliquant.images import Source\n"
        f"SOURCES = (Source({server.url()!r}, {hashlib.sha256(BODY).hexdigest()!r}, {len(BODY)}, 'free'),)\n"
    )
    package = tmp_path / "mine"
    package.mkdir()
    plugin.rename(package / "loopback_set.py")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    output = tmp_path / "raw" / "fetched.json"
    step = [sys.executable, "-m", "reliquant.steps.fetch", "--output", str(output), "--entry"]
    subprocess.run([*step, '{"dataset": "mine.loopback_set"}'], check=True, timeout=60)
    assert json.loads(output.read_text())["files"][0]["licence"] == "free"
    failed = subprocess.run([*step, '{"dataset": "parquet"}'], capture_output=True, text=True, timeout=60)
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: dataset 'parquet' names no SOURCES")


def test_a_file_of_unknown_sha_and_size_comes_whole_and_is_recorded(server, tmp_path):
    server.plan = [503, "good", "truncated", "good"]
    unknown = source(server, sha256=None, bytes=None)
    (facts,) = fetch([unknown], tmp_path, **QUICK)
    assert (tmp_path / "file.bin").read_bytes() == BODY
    assert (facts["sha256"], facts["bytes"]) == (hashlib.sha256(BODY).hexdigest(), len(BODY))
    assert server.ranges[-1] == "bytes=100000-"
    asked = len(server.ranges)
    fetch([unknown], tmp_path, **QUICK)
    assert len(server.ranges) == asked
