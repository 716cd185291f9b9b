import io
import tarfile

import pytest

from reliquant.images import webdataset
from reliquant.images.webdataset import Member, facts, image, samples


def pack(path, **members):
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name.replace("__", "/").replace("_", "."))
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def test_members_that_share_a_key_are_one_sample_and_are_read_in_place(tmp_path):
    by_key = samples(pack(tmp_path / "0.tar", s__a_JPG=b"one", s__b_png=b"two", s__a_seg_png=b"mask", s__a_cls=b"3"))
    assert list(by_key) == ["s/a", "s/b"]
    assert {suffix: member.bytes() for suffix, member in by_key["s/a"].items()} == {
        "jpg": b"one",
        "seg.png": b"mask",
        "cls": b"3",
    }
    assert image(by_key["s/a"]).bytes() == b"one"
    assert image({"txt": by_key["s/a"]["cls"]}) is None


def test_labels_and_captions_come_from_their_own_files_before_json(tmp_path):
    by_key = samples(
        pack(
            tmp_path / "0.tar",
            a_json=b'{"label": "cat", "caption": "a cat"}',
            b_json=b'{"cls": "7"}',
            c_json=b'{"label": "cat", "caption": "a cat"}',
            c_cls=b" 12 ",
            c_txt=b" a dog\n",
            d_jpg=b"x",
        )
    )
    told = {key: facts(key, parts) for key, parts in by_key.items()}
    assert told == {"a": ("cat", "a cat"), "b": (7, None), "c": (12, "a dog"), "d": (None, None)}


def test_texts_that_cannot_be_read_are_named(tmp_path, monkeypatch):
    by_key = samples(pack(tmp_path / "0.tar", a_json=b"[1]", b_txt=b"\xff\xfe", c_txt=b"too long"))
    with pytest.raises(ValueError, match=r"a\.json: must hold an object with label or caption"):
        facts("a", by_key["a"])
    with pytest.raises(ValueError, match=r"0\.tar: b: not text"):
        facts("b", by_key["b"])
    monkeypatch.setattr(webdataset, "LONGEST_TEXT", 5)
    with pytest.raises(ValueError, match="c: a text of 8 bytes; at most 5 are read"):
        facts("c", by_key["c"])


def test_a_member_that_lies_behind_the_end_is_refused(tmp_path):
    path = pack(tmp_path / "0.tar", a_jpg=b"one")
    with pytest.raises(ValueError, match=r"0\.tar: truncated: it ends inside a member"):
        Member(path, path.stat().st_size - 1, 3).bytes()
