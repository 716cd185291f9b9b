import os
import time

import pytest

from reliquant.study import placed

ENTRY = {"dataset": "image_folder", "classes": False}


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos" / "deep"
    folder.mkdir(parents=True)
    for number in range(3):
        (folder / f"{number}.jpg").write_bytes(bytes([number]) * 10)
    return tmp_path / "photos"


def test_content_counts_and_times_do_not(photos):
    first = placed.dataset_digest(ENTRY, "photos")
    os.utime(photos / "deep" / "1.jpg", (1, 1))
    assert placed.dataset_digest(ENTRY, "photos") == first
    (photos / "deep" / "1.jpg").write_bytes(b"b" * 10)
    assert placed.dataset_digest(ENTRY, "photos") != first
    (photos / "deep" / "1.jpg").write_bytes(bytes([1]) * 10)
    assert placed.dataset_digest(ENTRY, "photos") == first


def test_a_file_of_the_same_size_and_time_but_another_content_is_noticed(photos):
    time.sleep(placed.JUST_NOW / 1e9 + 0.1)
    first, path = placed.dataset_digest(ENTRY, "photos"), photos / "deep" / "1.jpg"
    times = path.stat()
    path.write_bytes(b"x" * 10)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert placed.dataset_digest(ENTRY, "photos") != first


def test_what_did_not_change_is_not_read_again_and_damaged_knowledge_is_not_used(photos, monkeypatch):
    time.sleep(placed.JUST_NOW / 1e9 + 0.1)
    first = placed.dataset_digest(ENTRY, "photos")
    with monkeypatch.context() as patch:
        patch.setattr(placed, "_content", lambda path: pytest.fail(f"{path} is read again"))
        assert placed.dataset_digest(ENTRY, "photos") == first
    (known,) = (photos.parent / placed.KNOWN).iterdir()
    known.write_text(known.read_text().replace("1.jpg", "2.jpg"))
    assert placed.dataset_digest(ENTRY, "photos") == first


def test_links_in_circles_end_and_what_cannot_be_read_is_part_of_the_digest(photos):
    (photos / "deep" / "up").symlink_to(photos)
    first = placed.dataset_digest(ENTRY, "photos")
    (photos / "deep" / "3.jpg").symlink_to(photos / "nowhere")
    os.mkfifo(photos / "deep" / "4.jpg")
    assert placed.dataset_digest(ENTRY, "photos") != first


def test_a_list_names_files_elsewhere_and_named_files_alone_count(photos):
    (photos / "list.csv").write_text("path,label\ndeep/0.jpg,a\n../other.jpg,b\n")
    (photos.parent / "other.jpg").write_bytes(b"other")
    entry = {"dataset": "csv", "files": ["list.csv"]}
    first = placed.dataset_digest(entry, "photos")
    (photos / "deep" / "2.jpg").write_bytes(b"of nobody")
    assert placed.dataset_digest(entry, "photos") == first
    (photos.parent / "other.jpg").write_bytes(b"another")
    assert placed.dataset_digest(entry, "photos") != first


def test_what_reads_no_files_or_has_none_has_no_digest_but_the_recorded_one(photos):
    assert placed.dataset_digest({"dataset": "lab", "task": "shape"}, "photos") == ""
    assert placed.dataset_digest(ENTRY, "nowhere") == ""
    placed.record("record.json", "ab")
    assert placed.digest_or_recorded("", "record.json") == "ab"
    assert placed.digest_or_recorded("cd", "record.json") == "cd"
    placed.record("record.json", "")
    assert placed.digest_or_recorded("", "record.json") == ""
    with pytest.raises(ValueError, match="photos: its files changed since the workflow began"):
        placed.require("ab", "cd", "photos")
