"""Where a server sends on to: never from https to http, and to no other scheme."""

import shutil
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from reliquant.download.http import FetchError, download
from reliquant.download.source import Source

BODY = b"what was published"
QUICK = {"stall": 2.0, "pause": 0.01, "tries": 2}


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        self.server.asked.append(self.path)
        place = self.server.places.get(self.path)
        self.send_response(302 if place else 200)
        if place:
            self.send_header("Location", place)
        self.send_header("Content-Length", str(0 if place else len(BODY)))
        self.end_headers()
        if not place:
            self.wfile.write(BODY)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    if not shutil.which("openssl"):
        pytest.skip("no openssl to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    subprocess.run(["openssl", *words.split(), *names], check=True, capture_output=True)
    return folder


@pytest.fixture
def servers(certificate, monkeypatch):
    """A server that speaks http, and one that speaks https; both on loopback."""
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    made = {}
    for scheme in ("http", "https"):
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads, server.asked, server.places = True, [], {}
        server.address = f"{scheme}://localhost:{server.server_port}"
        if scheme == "https":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        made[scheme] = server
    yield made
    for server in made.values():
        server.shutdown()
        server.server_close()


def source(url):
    return Source(url, None, None, "free")


def test_https_is_fetched_and_may_send_on_to_https(servers, tmp_path):
    there = servers["https"]
    there.places["/a.bin"] = f"{there.address}/b.bin"
    assert download(source(f"{there.address}/a.bin"), tmp_path, **QUICK).read_bytes() == BODY


def test_http_may_send_on_to_https(servers, tmp_path):
    servers["http"].places["/a.bin"] = f"{servers['https'].address}/b.bin"
    assert download(source(f"{servers['http'].address}/a.bin"), tmp_path, **QUICK).read_bytes() == BODY


def test_https_that_sends_on_to_http_is_not_followed(servers, tmp_path):
    there, bare = servers["https"], servers["http"]
    there.places |= {"/a.bin": f"{there.address}/b.bin", "/b.bin": f"{bare.address}/c.bin"}
    with pytest.raises(
        FetchError, match=r"b\.bin: the server sends on to http://localhost.*c\.bin: that is not followed"
    ):
        download(source(f"{there.address}/a.bin"), tmp_path, **QUICK)
    assert not bare.asked
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "place", ["file:///etc/hostname", "ftp://localhost/a", "data:text/plain,a", "FILE:///etc/hosts"]
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_no_other_scheme_is_followed(servers, tmp_path, scheme, place):
    servers[scheme].places["/a.bin"] = place
    with pytest.raises(FetchError, match=r"a\.bin: "):
        download(source(f"{servers[scheme].address}/a.bin"), tmp_path, **QUICK)
    assert servers[scheme].asked == ["/a.bin"]
    assert not list(tmp_path.iterdir())


def test_a_certificate_that_nobody_signed_is_refused(servers, tmp_path, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(FetchError, match="CERTIFICATE_VERIFY_FAILED"):
        download(source(f"{servers['https'].address}/a.bin"), tmp_path, **QUICK)
    assert not servers["https"].asked
