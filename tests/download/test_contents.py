import io
import os
import tarfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from reliquant.download.contents import require_contents
from reliquant.download.fetch import fetch
from reliquant.download.source import Source
from reliquant.files.artifacts import read_sealed_json, save_sealed_json

FILES = {"set/x/1.txt": b"one", "set/x/2.txt": b"two", "set/y/1.txt": b"one", "list.txt": b"1 2"}


@pytest.fixture
def record(tmp_path, monkeypatch):
    """The record of a fetch of an archive and of a file, unpacked."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    published = tmp_path / "published"
    published.mkdir()
    with tarfile.open(published / "a.tar", "w") as tar:
        for name, content in FILES.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    (published / "b.bin").write_bytes(b"b" * 50)

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *words):
            super().__init__(*words, directory=published)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        at = f"http://127.0.0.1:{server.server_port}"
        sources = [Source(f"{at}/a.tar", None, None, "", unpack=True), Source(f"{at}/b.bin", None, None, "")]
        fetch(sources, tmp_path / "raw", record=tmp_path / "raw" / "fetched.json")
        server.shutdown()
    return tmp_path / "raw" / "fetched.json"


def test_what_was_unpacked_is_recorded_folder_by_folder_and_found_again(record):
    assert set(read_sealed_json(record)["contents"]) == {"list.txt", "set", "set/x", "set/y"}
    require_contents(record)
    for path in record.parent.rglob("*"):
        os.utime(path, (0, 0))
    (record.parent / ".DS_Store").touch()
    (record.parent / "by_hand").mkdir()
    (record.parent / "note.txt").touch()
    require_contents(record)


HARMS = {  # what happens below the folder, and which folder is told
    "a changed byte": (
        lambda folder: (folder / "set/x/1.txt").write_bytes(b"onf"),
        "raw/set/x: changed, or files",
    ),
    "a lost file": (lambda folder: (folder / "set/y/1.txt").unlink(), "raw/set/y: changed, or files"),
    "one more file": (lambda folder: (folder / "set/y/3.txt").touch(), "raw/set/y: changed, or files"),
    "one more folder": (lambda folder: (folder / "set/z").mkdir(), "raw/set: changed, or files"),
    "another name": (lambda folder: (folder / "set/x").rename(folder / "set/z"), "raw/set"),
    "a file beside folders": (
        lambda folder: (folder / "list.txt").write_bytes(b"1 3"),
        "raw/list.txt: changed",
    ),
    "no file beside folders": (lambda folder: (folder / "list.txt").unlink(), "raw/list.txt: is gone"),
}


@pytest.mark.parametrize(("harm", "told"), HARMS.values(), ids=HARMS)
def test_what_changed_since_it_was_unpacked_is_told_with_its_folder(record, harm, told):
    harm(record.parent)
    with pytest.raises(ValueError, match=told) as refusal:
        require_contents(record)
    assert str(refusal.value).endswith(f"; delete {record}, and it is fetched again")


def test_a_record_of_an_earlier_version_tells_of_no_folder(record):
    found = read_sealed_json(record)
    del found["contents"]
    save_sealed_json(record, found)
    (record.parent / "set/x/1.txt").unlink()
    require_contents(record)
