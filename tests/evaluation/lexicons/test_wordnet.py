import hashlib
import io
import threading
import zipfile
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from reliquant import plugins
from reliquant.download.fetch import fetch
from reliquant.evaluation.lexicons import wordnet

LEMMAS = {
    "noun": ["albatross", "ice_cream", "2_percent", "o'clock", "jack-o-lantern"],
    "adj": ["albatross", "icy"],
    "verb": ["run"],
    "adv": ["icily"],
}


def archive():
    """A WordNet of nine words in the index files' format (wndb(5WN))."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        for name, lemmas in LEMMAS.items():
            lines = "".join(f"{lemma} {name[0]} 1 0 1 0 00001740  \n" for lemma in lemmas)
            zipped.writestr(f"wordnet/index.{name}", f"  1 This is the licence.\n  2 It has lines.\n{lines}")
    return file.getvalue()


@pytest.fixture
def root(tmp_path, monkeypatch):
    """The archive, fetched from a server on loopback and unpacked."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    served = tmp_path / "served"
    served.mkdir()
    (served / "wordnet.zip").write_bytes(body := archive())

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(served))

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/wordnet.zip"
    small = replace(wordnet.SOURCES[0], url=url, sha256=hashlib.sha256(body).hexdigest(), bytes=len(body))
    fetch([small], tmp_path / "raw")
    server.shutdown()
    server.server_close()
    return tmp_path / "raw"


def read(root, **words):
    return plugins.load("lexicon", {"lexicon": "wordnet", **words})(root)


def test_nouns_and_adjectives_are_read_once_each_without_signs(root):
    assert read(root) == ["albatross", "ice cream", "icy", "jack-o-lantern"]
    assert read(root, parts=["verb", "adverb"]) == ["icily", "run"]


def test_fewer_words_are_spread_evenly(root):
    assert read(root, words=2) == ["albatross", "icy"]
    with pytest.raises(ValueError, match="5 words asked for; there are 4"):
        read(root, words=5)


def test_a_folder_without_wordnet_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"index\.noun: no such file"):
        read(tmp_path)


def test_the_published_archive_is_pinned():
    (source,) = wordnet.SOURCES
    assert len(source.sha256) == 64
    assert wordnet.REVISION in source.url
