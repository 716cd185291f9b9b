import io
import tarfile

import pytest
from PIL import Image

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
    found = samples(pack(tmp_path / "0.tar", s__a_JPG=b"one", s__b_png=b"two", s__a_seg_png=b"mask", s__a_cls=b"3"))
    assert list(found.by_key) == ["s/a", "s/b"]
    assert {suffix: member.bytes() for suffix, member in found.by_key["s/a"].items()} == {
        "jpg": b"one",
        "seg.png": b"mask",
        "cls": b"3",
    }
    assert found.passed_over == {".seg.png": 1}
    assert image(found.by_key["s/a"]).bytes() == b"one"
    assert image({"txt": found.by_key["s/a"]["cls"]}) is None


def test_keys_may_have_dots_where_a_sample_of_their_own_is_behind_them(tmp_path):
    names = [f"img_{'v1.0_' if i % 2 else ''}{i}" for i in range(6)]
    path = tmp_path / "0.tar"
    with tarfile.open(path, "w") as tar:
        for name in names:
            for suffix, data in (("png", name.encode()), ("cls", b"0"), ("mask.png", b"mask")):
                info = tarfile.TarInfo(f"{name}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    found = samples(path)
    assert sorted(found.by_key) == sorted(names)
    assert {key: image(parts).bytes().decode() for key, parts in found.by_key.items()} == {name: name for name in names}
    assert sum(found.passed_over.values()) == 6


def test_members_that_are_no_samples_are_counted_and_hard_links_are_what_they_repeat(tmp_path):
    path = tmp_path / "0.tar"
    png = io.BytesIO()
    Image.new("RGB", (4, 4)).save(png, "png")
    with tarfile.open(path, "w") as tar:
        for name in ("a.png", "._a.png", "__MACOSX/b.png", "README", "c.npy", "d.bin", "e"):
            data = png.getvalue() if name in ("a.png", "d.bin", "e") else b"no image"
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for name, kind, target in (("f.png", tarfile.LNKTYPE, "a.png"), ("g.png", tarfile.SYMTYPE, "a.png")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            tar.addfile(info)
    found = samples(path)
    assert {key: image(parts).bytes() for key, parts in found.by_key.items()} == dict.fromkeys("adef", png.getvalue())
    assert found.passed_over == {
        ".png (hidden)": 2,
        "(no suffix)": 1,
        ".npy": 1,
        ".png (link or no plain file)": 1,
    }


def test_labels_and_captions_come_from_their_own_files_before_json(tmp_path):
    by_key = samples(
        pack(
            tmp_path / "0.tar",
            a_png=b"x",
            a_json=b'{"label": "cat", "caption": "a cat"}',
            b_png=b"x",
            b_json=b'{"cls": "7", "text": ["", "seven"]}',
            c_png=b"x",
            c_json=b'{"label": "cat", "caption": "a cat"}',
            c_cls=b" 12 ",
            c_txt=b" a dog\n",
            d_jpg=b"x",
        )
    ).by_key
    told = {key: facts(key, parts) for key, parts in by_key.items()}
    assert told == {"a": ("cat", "a cat"), "b": ("7", "seven"), "c": ("12", "a dog"), "d": (None, None)}


def test_texts_that_cannot_be_read_are_named(tmp_path, monkeypatch):
    members = {"a_json": b"[1]", "b_txt": b"\xff\xfe", "c_txt": b"too long", "d_json": b"{"}
    images = {f"{letter}_png": b"x" for letter in "abcd"}
    by_key = samples(pack(tmp_path / "0.tar", **members, **images)).by_key
    with pytest.raises(ValueError, match=r"a\.json: must hold an object with label or caption"):
        facts("a", by_key["a"])
    with pytest.raises(ValueError, match=r"0\.tar: b: not text"):
        facts("b", by_key["b"])
    with pytest.raises(ValueError, match=r"d\.json: no JSON"):
        facts("d", by_key["d"])
    monkeypatch.setattr(webdataset, "LONGEST_TEXT", 5)
    with pytest.raises(ValueError, match="c: a text of 8 bytes; at most 5 are read"):
        facts("c", by_key["c"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda whole, start: whole[:start], "truncated: it ends without the mark of its end"),
        (lambda whole, start: whole[: start - 1000], "truncated: it ends inside b.png"),
        (lambda whole, start: whole[:1600] + b"?" + whole[1601:], "damaged at byte 1536: no member begins there"),
        (lambda whole, start: whole + whole, "goes on after the mark of its end"),
    ],
)
def test_a_tar_whose_end_is_not_its_end_is_refused(tmp_path, change, told):
    path = pack(tmp_path / "0.tar", a_png=b"x" * 600, b_png=b"y" * 600)
    whole = path.read_bytes()
    end = 2 * (512 + 1024)
    assert samples(path).by_key.keys() == {"a", "b"}
    path.write_bytes(change(whole, end))
    with pytest.raises(ValueError, match=f"0.tar: {told}"):
        samples(path)


def test_a_member_that_lies_behind_the_end_is_refused(tmp_path):
    path = pack(tmp_path / "0.tar", a_jpg=b"one")
    with pytest.raises(ValueError, match=r"0\.tar: truncated: it ends inside a member"):
        Member(path, path.stat().st_size - 1, 3).bytes()


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"label":' * 100_000, b'{"label": ' + b"9" * 100_000 + b"}"])
def test_json_that_asks_for_much_is_refused_with_its_name(tmp_path, text):
    by_key = samples(pack(tmp_path / "0.tar", a_json=text, a_png=b"x")).by_key
    with pytest.raises(ValueError, match=r"a\.json: no JSON"):
        facts("a", by_key["a"])
