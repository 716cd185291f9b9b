"""Two fetches into one folder at once: the second waits, and takes what the first one recorded."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Slow(BaseHTTPRequestHandler):
    """Serves files, the first part of each at once and the rest when the server lets it go."""

    def log_message(self, *args):
        pass

    def do_GET(self):
        body = self.server.files[self.path]
        self.server.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:10])
        self.server.let_go.wait(60)
        self.wfile.write(body[10:])


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    made = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as file:
        member = tarfile.TarInfo("set/a.txt")
        member.size = 3
        file.addfile(member, io.BytesIO(b"one"))
    made.files, made.asked, made.let_go = (
        {"/a.tar.gz": archive.getvalue(), "/b.bin": b"b" * 5000},
        [],
        threading.Event(),
    )
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def start(server, tmp_path, monkeypatch):
    """Starts the step for a plugin of both files; with another sum of one of them, if that is given."""
    (tmp_path / "mine").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)

    def run(name="pair", sha256=None):
        urls = [f"http://127.0.0.1:{server.server_port}{path}" for path in server.files]
        sums = [hashlib.sha256(body).hexdigest() for body in server.files.values()]
        lines = []
        for url, one, body in zip(urls, [sums[0], sha256 or sums[1]], server.files.values(), strict=True):
            words = {"sha256": one, "bytes": len(body), "licence": "free", "unpack": "tar" in url}
            lines.append(f"Source({url!r}, **{words})")
        text = f"from reliquant.download.source import Source\nSOURCES = [{', '.join(lines)}]\n"
        (tmp_path / "mine" / f"{name}.py").write_text(text)
        command = [sys.executable, "-m", "reliquant.steps.fetch", "--entry", json.dumps({"dataset": f"mine.{name}"})]
        command += ["--lock", "data.lock.json", "--output", "raw/fetched.json"]
        return subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)

    return run


def until(condition):
    last = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < last
        time.sleep(0.01)


def test_a_second_fetch_takes_what_it_waited_for_and_asks_for_nothing(server, tmp_path, start):
    first = start()
    until(lambda: server.asked)
    second = start()
    assert "another process downloads into it" in second.stderr.readline()
    server.let_go.set()
    assert (first.wait(), second.wait()) == (0, 0), second.stderr.read()
    assert server.asked == ["/a.tar.gz", "/b.bin"]
    assert (tmp_path / "raw/set/a.txt").read_text() == "one"
    assert len(json.loads((tmp_path / "raw/fetched.json").read_text())["files"]) == 2


def test_what_the_first_fetch_recorded_is_not_taken_for_another_file(server, tmp_path, start):
    first = start()
    until(lambda: server.asked)
    second = start("other", sha256="0" * 64)
    assert "another process downloads into it" in second.stderr.readline()
    server.let_go.set()
    assert (first.wait(), second.wait()) == (0, 1)
    assert "another file, or altered" in second.stderr.read()
    assert len(server.asked) > 2


def test_what_changed_since_the_first_fetch_recorded_it_is_fetched_again(server, tmp_path, start):
    """The second one is stopped until a file has been changed: it goes on, and compares."""
    first = start()
    until(lambda: server.asked)
    second = start()
    assert "another process downloads into it" in second.stderr.readline()
    os.kill(second.pid, signal.SIGSTOP)
    server.let_go.set()
    assert first.wait() == 0
    (tmp_path / "raw/b.bin").write_bytes(b"c" * 5000)
    os.kill(second.pid, signal.SIGCONT)
    assert second.wait() == 0
    assert server.asked == ["/a.tar.gz", "/b.bin"] * 2
    assert (tmp_path / "raw/b.bin").read_bytes() == b"b" * 5000
