import hashlib
import io
import json
import os
import shutil
import tarfile
import threading
import time
import urllib.request
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from forked_programs import programs

from reliquant.download import http as fetching
from reliquant.download.fetch import fetch
from reliquant.download.http import FetchError, download
from reliquant.download.source import Source
from reliquant.files.artifacts import DamagedFile

BODY = np.random.default_rng(0).integers(0, 256, 300_000, dtype=np.uint8).tobytes()
OTHER = BODY[::-1][:250_000]  # what the server has after a change
IMPORTED = ("ssl", "numpy", "yaml", "pydantic.dataclasses", "pydantic.main", "tqdm")  # what the step does, too
QUICK = {"stall": 0.5, "pause": 0.01}


class Server(ThreadingHTTPServer):
    """A real server on loopback that misbehaves as `plan` says, one behaviour a request, the last one for ever."""

    daemon_threads = True

    def __init__(self, body=BODY):
        self.body, self.plan, self.ranges = body, ["good"], []
        self.files = {}  # path -> body, for those that differ
        self.retry_after, self.times = lambda: "0", []  # of each request, in seconds
        self.headers, self.asked = {}, []  # of the file's version; (path, headers) of each request
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
        server.times.append(time.monotonic())
        server.asked.append((self.path, dict(self.headers)))
        if isinstance(behaviour, str) and "://" in behaviour:
            self.send_response(302)
            self.send_header("Location", behaviour)
            self.end_headers()
            return
        if isinstance(behaviour, int):
            self.send_response(behaviour)
            self.send_header("Retry-After", server.retry_after())
            self.end_headers()
            return
        known = self.headers.get("If-Range") in (None, *server.headers.values()) or behaviour == "blind"
        start = int(asked[6:-1]) if asked and known and behaviour != "no ranges" else 0
        whole = server.files.get(self.path, server.body)
        body = {"wrong": b"x" * len(BODY), "page": b"<html>moved</html>", "long": whole * 2}.get(behaviour, whole)
        if start >= len(body) > 0:
            self.send_response(416)
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        for name, value in server.headers.items():
            self.send_header(name, value)
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
    proxies = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
    for name in (*proxies, "HF_ENDPOINT", "HF_TOKEN", "HF_HUB_OFFLINE"):
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


@pytest.mark.parametrize(
    ("retry_after", "least"),
    [
        (lambda: "1", 1.0),
        (lambda: "0.6", 0.6),
        (lambda: formatdate(time.time() + 2, usegmt=True), 0.9),  # dates have whole seconds
        (lambda: formatdate(time.time() + 2.5, localtime=True), 1.4),
    ],
)
def test_a_busy_server_is_left_alone_as_long_as_it_asks(server, tmp_path, retry_after, least):
    server.plan, server.retry_after = [503, "good"], retry_after
    assert download(source(server), tmp_path, **QUICK).read_bytes() == BODY
    assert least <= server.times[1] - server.times[0] < least + 2


@pytest.mark.parametrize("asked", ["3600", "1e300", "inf", "Fri, 31 Dec 2100 23:59:59 GMT"])
def test_a_server_that_asks_for_too_much_waits_for_the_longest_pause(server, tmp_path, monkeypatch, asked):
    monkeypatch.setattr(fetching, "LONGEST_PAUSE", 0.3)
    server.plan, server.retry_after = [503, "good"], lambda: asked
    download(source(server), tmp_path, **QUICK)
    assert 0.3 <= server.times[1] - server.times[0] < 2


@pytest.mark.parametrize(
    "asked", ["", "soon", "-5", "nan", "Mon, 01 Jan 2001 00:00:00 GMT", "Mon, 99 Jan 0001 00:00:00 -0000"]
)
def test_a_pause_that_says_nothing_is_ones_own(server, tmp_path, asked):
    server.plan, server.retry_after = [503, "good"], lambda: asked
    download(source(server), tmp_path, stall=0.5, pause=0.2)
    assert 0.2 <= server.times[1] - server.times[0] < 1


class Proxy(BaseHTTPRequestHandler):
    """Forward what it is asked for, and record it; no tunnels."""

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.server.asked.append(self.requestline)
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(self.path) as answer:
            self.send_response(answer.status)
            self.send_header("Content-Length", answer.headers["Content-Length"])
            self.end_headers()
            shutil.copyfileobj(answer, self.wfile)

    def do_CONNECT(self):
        self.server.asked.append(self.requestline)
        self.send_error(403, "No tunnels")


@pytest.fixture
def proxy(server, monkeypatch):
    for name in ("no_proxy", "NO_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    made = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    made.asked = []
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY"])
def test_proxies_come_from_the_environment(server, proxy, tmp_path, monkeypatch, name):
    monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.server_port}")
    assert download(source(server), tmp_path, **QUICK).read_bytes() == BODY
    assert proxy.asked == [f"GET {server.url()} HTTP/1.1"]
    monkeypatch.setenv("no_proxy", "example.org,127.0.0.1")
    assert download(source(server, url=server.url("direct.bin")), tmp_path, **QUICK).read_bytes() == BODY
    assert len(proxy.asked) == 1
    assert len(server.asked) == 2


def test_a_proxy_is_asked_for_a_tunnel_to_an_encrypted_server(server, proxy, tmp_path, monkeypatch):
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.server_port}")
    with pytest.raises(FetchError, match=r"file\.bin: given up after 1 tries: .*No tunnels"):
        download(source(server, url="https://example.invalid/file.bin"), tmp_path, tries=1, **QUICK)
    assert [line.rpartition(" ")[0] for line in proxy.asked] == ["CONNECT example.invalid:443"]


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


@pytest.mark.parametrize("end", ["", "a%00b", ".netrc", "C:%5Cx"])
def test_an_address_without_the_name_of_a_file_is_refused(tmp_path, end):
    url = f"https://a.org/{end}"
    with pytest.raises(ValueError, match="the name of its file must ") as refusal:
        download(Source(url, None, None, ""), tmp_path / "there")
    assert str(refusal.value).startswith(f"{url}: ")
    assert not (tmp_path / "there").exists()


def test_too_little_space_is_said_before_the_download(server, tmp_path):
    with pytest.raises(FetchError, match=r"needs \d+\.\d GiB"):
        download(source(server, bytes=2**60), tmp_path)
    assert not server.ranges


def tarred(name, data):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def test_archives_are_unpacked_and_facts_recorded(server, tmp_path):
    server.body = tarred("set/a.txt", b"hello")
    one = source(server, server.body, url=server.url("set.tar.gz"), unpack=True)
    facts = fetch([one], tmp_path, **QUICK)
    assert (tmp_path / "set" / "a.txt").read_text() == "hello"
    assert [p.name for p in tmp_path.iterdir()] == ["set"]
    assert facts == [{"url": one.url, "sha256": one.sha256, "bytes": one.bytes, "licence": "free", "unpack": True}]


def test_two_archives_of_one_folder_are_both_kept(server, tmp_path):
    server.files = {"/1.tar.gz": tarred("set/a.txt", b"one"), "/2.tar.gz": tarred("set/b.txt", b"two")}
    both = [source(server, body, url=server.url(path[1:]), unpack=True) for path, body in server.files.items()]
    for _ in range(2):
        fetch(both, tmp_path, **QUICK)
        assert {p.name: p.read_text() for p in (tmp_path / "set").iterdir()} == {"a.txt": "one", "b.txt": "two"}
    server.files["/2.tar.gz"] = tarred("set/a.txt", b"three")
    both[1] = source(server, server.files["/2.tar.gz"], url=server.url("2.tar.gz"), unpack=True)
    with pytest.raises(ValueError, match=r"2\.tar\.gz: a\.txt is in another archive too, with other content"):
        fetch(both, tmp_path, **QUICK)


@pytest.fixture
def step(tmp_path, monkeypatch):
    """Run the step for a plugin of the given sources, in a clone of the given name."""
    package = tmp_path / "mine"
    package.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)

    def run(*sources, clone="clone"):
        (package / "loopback_set.py").write_text(
            f"from reliquant.download.source import Source\nSOURCES = {tuple(sources)!r}\n" if sources else ""
        )
        entry = json.dumps({"dataset": "mine.loopback_set" if sources else "parquet"})
        words = ["--entry", entry, "--lock", "data.lock.json", "--output", "raw/fetched.json"]
        (tmp_path / clone).mkdir(exist_ok=True)
        return programs(*IMPORTED).run("reliquant.steps.fetch", *words, cwd=tmp_path / clone, patience=60)

    return run


def test_the_step_writes_what_was_fetched(server, tmp_path, step):
    done = step(source(server))
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "clone/raw/fetched.json").read_text())["files"][0]["licence"] == "free"
    assert not (tmp_path / "clone/data.lock.json").exists()  # its sha256 is published
    failed = step()
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: dataset 'parquet' names no SOURCES")


def test_what_nobody_publishes_is_recorded_and_another_file_refused_in_every_clone(server, tmp_path, step):
    first, other = tarred("set/a.txt", b"one"), tarred("set/a.txt", b"two!")
    server.files = {"/set.tar.gz": first}
    archive = source(server, url=server.url("set.tar.gz"), sha256=None, bytes=None, unpack=True)
    done = step(archive, source(server))
    assert done.returncode == 0
    lock = tmp_path / "clone/data.lock.json"
    sums = [hashlib.sha256(body).hexdigest() for body in (first, other)]
    trusted = f"nobody publishes the sha256 of {archive.url}: it is trusted as it first comes, over http, so that"
    assert trusted in done.stderr
    assert f"what came has the sha256 {sums[0]}, from now on asked for by data.lock.json" in done.stderr
    assert done.stderr.count("trusted") == 1  # the other's sum is published
    assert json.loads(lock.read_text()) == {archive.url: {"sha256": sums[0], "bytes": len(first)}}

    (tmp_path / "second").mkdir()
    shutil.copy(lock, tmp_path / "second")
    server.files = {"/set.tar.gz": other}
    for clone in ("clone", "second", "second"):
        failed = step(archive, clone=clone)
        assert failed.returncode == 1
        said = f"raw/set.tar.gz has the sha256 {sums[1]}, not {sums[0]} as data.lock.json says: another file than"
        assert failed.stderr.startswith(f"error: {archive.url}: {said}"), failed.stderr
        assert "Delete it to fetch it again, or take its entry out of data.lock.json if this one is" in failed.stderr
    assert (tmp_path / "clone/raw/set/a.txt").read_text() == "one"
    assert not (tmp_path / "second/raw/set").exists()

    (tmp_path / "second/raw/set.tar.gz").unlink()
    server.files = {"/set.tar.gz": first}
    assert step(archive, clone="second").returncode == 0
    assert (tmp_path / "second/data.lock.json").read_bytes() == lock.read_bytes()


def test_a_damaged_archive_is_not_recorded(server, tmp_path, step):
    server.body = tarred("set/a.txt", b"one")[:-4] + b"size"
    failed = step(source(server, url=server.url("set.tar.gz"), sha256=None, bytes=None, unpack=True))
    assert failed.stderr.startswith("error: raw/set.tar.gz: truncated or damaged")
    assert not (tmp_path / "clone/data.lock.json").exists()
    assert [path.name for path in (tmp_path / "clone/raw").iterdir()] == ["set.tar.gz"]


def test_a_file_of_unknown_sha_and_size_comes_whole_and_is_recorded(server, tmp_path):
    server.headers = {"ETag": '"1"'}
    server.plan = [503, "truncated", "good"]
    unknown = source(server, sha256=None, bytes=None)
    (facts,) = fetch([unknown], tmp_path, **QUICK)
    assert (tmp_path / "file.bin").read_bytes() == BODY
    assert [p.name for p in tmp_path.iterdir()] == ["file.bin"]
    assert (facts["sha256"], facts["bytes"]) == (hashlib.sha256(BODY).hexdigest(), len(BODY))
    assert server.ranges == [None, None, "bytes=100000-"]
    fetch([unknown], tmp_path, **QUICK)
    assert len(server.ranges) == 3


def change(server, monkeypatch, headers, body=OTHER):
    """Put another version onto the server between the first and the second request."""
    monkeypatch.setattr(fetching.time, "sleep", lambda _: server.__dict__.update(body=body, headers=headers))


@pytest.mark.parametrize("after", ["good", "blind"])
@pytest.mark.parametrize("name", ["ETag", "Last-Modified"])
def test_a_file_that_changes_meanwhile_starts_over(server, tmp_path, monkeypatch, name, after):
    server.headers, server.plan = {name: '"1"'}, ["truncated", after]
    other = BODY[::-1]  # of the same size
    change(server, monkeypatch, {name: '"2"'}, other)
    path = download(source(server, sha256=None, bytes=None), tmp_path, **QUICK)
    assert path.read_bytes() == other
    assert server.asked[1][1]["If-Range"] == '"1"'
    assert [p.name for p in tmp_path.iterdir()] == ["file.bin"]


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"1"'}])
def test_without_a_version_nor_a_sha256_every_try_starts_over(server, tmp_path, monkeypatch, headers):
    server.headers, server.plan = headers, ["truncated", "good"]
    change(server, monkeypatch, headers)
    assert download(source(server, sha256=None, bytes=None), tmp_path, **QUICK).read_bytes() == OTHER
    assert server.ranges == [None, None]


def test_another_total_size_starts_over(server, tmp_path, monkeypatch):
    server.headers, server.plan = {"ETag": '"1"'}, ["truncated", "blind"]
    change(server, monkeypatch, {})
    assert download(source(server, sha256=None, bytes=None), tmp_path, **QUICK).read_bytes() == OTHER


def test_a_mix_is_found_by_its_sha256(server, tmp_path, monkeypatch):
    server.plan, other = ["truncated", "good"], BODY[::-1]
    change(server, monkeypatch, {}, other)
    assert download(source(server, other), tmp_path, **QUICK).read_bytes() == other
    assert server.ranges == [None, "bytes=100000-", None]


def test_a_file_that_has_become_shorter_than_its_rest_starts_over(server, tmp_path):
    server.body = OTHER[:50_000]
    (tmp_path / ".file.bin.part").write_bytes(BODY[:60_000])
    assert download(source(server, server.body, bytes=None), tmp_path, **QUICK).read_bytes() == server.body
    assert server.ranges == ["bytes=60000-", None]


def killed(server, folder, one):
    """Leave what a download that ends after 100,000 bytes leaves."""
    server.plan = ["truncated"]
    with pytest.raises(FetchError, match="given up"):
        download(one, folder, tries=1, **QUICK)
    server.plan, server.ranges = ["good"], []


def test_the_version_outlives_the_process(server, tmp_path):
    one = source(server, sha256=None, bytes=None)
    server.headers = {"ETag": '"1"'}
    killed(server, tmp_path, one)
    assert download(one, tmp_path, **QUICK).read_bytes() == BODY
    assert server.ranges == ["bytes=100000-"]
    (tmp_path / "file.bin").unlink()
    killed(server, tmp_path, one)
    server.body, server.headers = OTHER, {"ETag": '"2"'}
    assert download(one, tmp_path, **QUICK).read_bytes() == OTHER


@pytest.mark.parametrize("lost", ["sidecar", "address"])
def test_a_rest_of_unknown_version_is_dropped(server, tmp_path, lost):
    server.headers = {"ETag": '"1"'}
    one = source(server, sha256=None, bytes=None)
    killed(server, tmp_path, one)
    if lost == "sidecar":
        (tmp_path / ".file.bin.part.json").unlink()
    else:
        one = source(server, sha256=None, bytes=None, url=server.url("other/file.bin"))
    assert download(one, tmp_path, **QUICK).read_bytes() == BODY
    assert server.ranges == [None]


def test_redirects_are_followed_and_ranges_go_along(server, tmp_path):
    away = server.url("elsewhere/x")
    server.headers, server.plan = {"ETag": '"1"'}, [away, "truncated", away, "good"]
    assert download(source(server), tmp_path, **QUICK).read_bytes() == BODY
    assert [path for path, _ in server.asked] == ["/file.bin", "/elsewhere/x"] * 2
    assert server.ranges[2:] == ["bytes=100000-"] * 2
    assert server.asked[3][1]["If-Range"] == '"1"'


def test_space_is_checked_again_once_the_size_is_known(server, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda _: type("Usage", (), {"free": len(BODY) - 1}))
    with pytest.raises(FetchError, match=r"file\.bin: needs 0\.0 GiB"):
        download(source(server, sha256=None, bytes=None), tmp_path, **QUICK)
    assert len(server.ranges) == 1
    assert not list(tmp_path.iterdir())


def test_an_empty_file_is_a_file(server, tmp_path):
    server.body = b""
    assert download(source(server, b""), tmp_path, **QUICK).read_bytes() == b""
    assert download(source(server, b"", bytes=None, url=server.url("b")), tmp_path, **QUICK).read_bytes() == b""


def test_the_hub_is_asked_at_its_mirror_with_the_token(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", server.url("mirror/"))
    monkeypatch.setenv("HF_TOKEN", "secret")
    on_hub = source(server, url="https://huggingface.co/datasets/a/b/resolve/main/file.bin")
    (facts,) = fetch([on_hub], tmp_path, **QUICK)
    path, headers = server.asked[0]
    assert path == "/mirror/datasets/a/b/resolve/main/file.bin"
    assert headers["Authorization"] == "Bearer secret"
    assert facts["url"] == on_hub.url
    download(source(server, url=server.url("other.bin")), tmp_path, **QUICK)
    assert "Authorization" not in server.asked[1][1]


def test_the_token_goes_to_no_other_host(server, tmp_path, monkeypatch):
    other = Server()
    monkeypatch.setenv("HF_ENDPOINT", server.url("mirror"))
    monkeypatch.setenv("HF_TOKEN", "secret")
    server.plan = [server.url("mirror/renamed"), other.url("storage")]
    download(source(server, url="https://huggingface.co/file.bin"), tmp_path, **QUICK)
    other.shutdown()
    other.server_close()
    assert [headers.get("Authorization") for _, headers in server.asked] == ["Bearer secret"] * 2
    assert [path for path, _ in other.asked] == ["/storage"]
    assert "Authorization" not in other.asked[0][1]


def test_what_the_hub_refuses_says_why(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", server.url("mirror"))
    server.plan = [401]
    with pytest.raises(FetchError, match=r"answers 401 .*accept its terms on the hub and set HF_TOKEN"):
        download(source(server, url="https://huggingface.co/file.bin"), tmp_path, **QUICK)


@pytest.mark.parametrize("hub", [False, True])
def test_offline_only_what_is_there_counts(server, tmp_path, monkeypatch, hub):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    url = server.url("file.bin")
    if hub:
        monkeypatch.setenv("HF_ENDPOINT", server.url("mirror"))
        url = server.url("mirror/file.bin")
    one = source(server, url="https://huggingface.co/file.bin" if hub else url)
    path = tmp_path / "file.bin"
    for there, state in ((None, "is not there"), (b"another", "is another file")):
        if there:
            path.write_bytes(there)
        with pytest.raises(FetchError) as caught:
            download(one, tmp_path, **QUICK)
        assert str(caught.value) == f"{url}: offline (HF_HUB_OFFLINE is set), and {path} {state}"
    path.write_bytes(BODY)
    assert fetch([one], tmp_path, **QUICK)[0]["bytes"] == len(BODY)
    assert not server.asked


def test_offline_all_that_is_missing_is_named(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "b.bin").write_bytes(BODY)
    with pytest.raises(FetchError) as caught:
        fetch([source(server, url=server.url(f"{name}.bin")) for name in "abc"], tmp_path, **QUICK)
    assert [line.partition(": offline")[0] for line in str(caught.value).splitlines()] == [
        server.url("a.bin"),
        server.url("c.bin"),
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["b.bin"]
    assert not server.asked
