import io
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import polars as pl
import pytest
from PIL import Image

from reliquant import plugins
from reliquant.download.fetch import fetch
from reliquant.download.http import FetchError
from reliquant.images.datasets.huggingface import sources

REVISION = "0123456789abcdef0123456789abcdef01234567"


def png(shade):
    stream = io.BytesIO()
    Image.fromarray(np.full((4, 5, 3), shade, np.uint8)).save(stream, "png")
    return stream.getvalue()


@pytest.fixture
def hub(tmp_path):
    """A hub on loopback that holds one dataset of two files."""
    folder = tmp_path / "hub" / "datasets" / "somebody" / "pets" / "resolve" / REVISION / "data"
    folder.mkdir(parents=True)
    for name, shades in (("train-0.parquet", [1, 2, 3]), ("train-1.parquet", [4, 5])):
        columns = {"picture": [png(s) for s in shades], "kind": ["cat" if s % 2 else "dog" for s in shades]}
        pl.DataFrame(columns).write_parquet(folder / name)
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path / "hub")
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def words(hub, **more):
    files = ["data/train-0.parquet", "data/train-1.parquet"]
    return {"repo": "somebody/pets", "revision": REVISION, "files": files, "hub": hub, **more}


def test_files_of_a_revision_are_fetched_and_read(hub, tmp_path):
    asked = words(hub, image="picture", label="kind")
    fetch(sources(**asked), tmp_path / "raw", pause=0.01)
    found = plugins.load("dataset", {"dataset": "huggingface", **asked})(tmp_path / "raw")
    assert found.classes == ["cat", "dog"]
    assert found.labels.tolist() == [0, 1, 0, 1, 0]
    assert [int(found.read(i)[0, 0, 0]) for i in range(5)] == [1, 2, 3, 4, 5]


def test_tars_of_a_repository_are_image_caption_pairs(hub, tmp_path):
    folder = tmp_path / "hub" / "datasets" / "somebody" / "pets" / "resolve" / REVISION
    with tarfile.open(folder / "pairs-0000.tar", "w") as tar:
        for key, content in (
            ("0.png", png(7)),
            ("0.txt", b"a dark cat"),
            ("1.png", png(200)),
            ("1.txt", b"a light dog"),
        ):
            member = tarfile.TarInfo(key)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    asked = words(hub, files=["pairs-0000.tar"])
    fetch(sources(**asked), tmp_path / "raw", pause=0.01)
    found = plugins.load("dataset", {"dataset": "huggingface", **asked})(tmp_path / "raw")
    assert found.captions == ["a dark cat", "a light dog"]
    assert [int(found.read(i)[0, 0, 0]) for i in range(2)] == [7, 200]


def test_another_revision_is_not_found(hub, tmp_path):
    with pytest.raises(FetchError, match="404"):
        fetch(sources(**words(hub, revision=REVISION[::-1])), tmp_path, pause=0.01)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"revision": "main"}, "give the 40 digits of a commit; a branch moves"),
        ({"files": ["a/0.parquet", "b/0.parquet"]}, "two have the same name"),
    ],
)
def test_what_could_change_or_collide_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        sources(**words("http://127.0.0.1:1", **wrong))
