import bz2
import gzip
import io
import lzma
import stat
import tarfile
import zipfile

import numpy as np
import pytest

from reliquant.download.unpack import unpack
from reliquant.files.artifacts import DamagedFile


def tarred(path, members, mode="w:gz"):
    with tarfile.open(path, mode) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            if isinstance(data, tuple):
                info.type, info.linkname = data
                data = b""
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def zipped(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members:
            file.writestr(name, data)
    return path


GOOD = [("set/a.txt", b"one"), ("set/deep/b.txt", b"two"), ("top.txt", b"three")]


@pytest.mark.parametrize(("make", "name"), [(tarred, "x.tar.gz"), (zipped, "x.zip")])
def test_files_appear_in_the_folder(tmp_path, make, name):
    archive = make(tmp_path / name, GOOD)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "stale.txt").write_text("of an earlier version")
    unpack(archive, tmp_path)
    found = {p.relative_to(tmp_path).as_posix(): p.read_bytes() for p in tmp_path.rglob("*.txt")}
    assert found == dict(GOOD)


@pytest.mark.parametrize(("make", "name"), [(tarred, "x.tar.gz"), (zipped, "x.zip")])
@pytest.mark.parametrize("evil", ["../evil.txt", "/evil.txt", "a/../../evil.txt", "a\\..\\evil.txt"])
def test_a_path_outside_the_folder_stops_everything(tmp_path, make, name, evil):
    folder = tmp_path / "raw"
    folder.mkdir()
    archive = make(tmp_path / name, [*GOOD, (evil, b"evil")])
    with pytest.raises(ValueError, match="points outside the folder"):
        unpack(archive, folder)
    assert not list(folder.iterdir())
    assert not list(tmp_path.rglob("*evil*"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    archive = tarred(tmp_path / "x.tar", [*GOOD, ("link", (kind, "/etc/passwd"))], "w")
    with pytest.raises(ValueError, match="link is a link or device"):
        unpack(archive, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["x.tar"]


def test_a_link_in_a_zip_is_refused(tmp_path):
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(ValueError, match="link is a link or device"):
        unpack(zipped(tmp_path / "x.zip", [(info, b"/etc/passwd")]), tmp_path)


@pytest.mark.parametrize(("make", "name"), [(tarred, "x.tar.gz"), (zipped, "x.zip")])
def test_a_bomb_is_stopped(tmp_path, make, name):
    archive = make(tmp_path / name, [("bomb.bin", bytes(5_000_000))])
    with pytest.raises(ValueError, match=r"unpacks to more than .* \(at bomb\.bin\)"):
        unpack(archive, tmp_path)
    unpack(archive, tmp_path, limit=5_000_000)
    assert (tmp_path / "bomb.bin").stat().st_size == 5_000_000


@pytest.mark.parametrize(("make", "name"), [(tarred, "x.tar.gz"), (zipped, "x.zip")])
def test_a_truncated_archive_is_named(tmp_path, make, name):
    archive = make(tmp_path / name, [("a.bin", bytes(range(256)) * 100)])
    archive.write_bytes(archive.read_bytes()[:-150])
    with pytest.raises(DamagedFile, match="truncated or damaged"):
        unpack(archive, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [name]


COMPRESSED = {"x.tar.gz": "w:gz", "x.tar.bz2": "w:bz2", "x.tar.xz": "w:xz"}
LARGE = [("a.bin", np.random.default_rng(0).bytes(20_000)), ("b.bin", b"two" * 1000)]


def refused(archive, folder):
    """Unpack into an empty folder and return the message of the refusal; nothing may be left there."""
    folder.mkdir()
    with pytest.raises(DamagedFile, match=rf"{archive.name}: truncated or damaged, or of an unsupp") as caught:
        unpack(archive, folder)
    assert not list(folder.iterdir())
    return str(caught.value)


def altered(path, at, to=None):
    data = bytearray(path.read_bytes())
    data[at] = data[at] ^ 1 if to is None else to
    path.write_bytes(data)


@pytest.mark.parametrize("name", COMPRESSED)
@pytest.mark.parametrize("at", [0.3, 0.5, 0.9])
def test_an_altered_byte_in_a_compressed_tar_is_found(tmp_path, name, at):
    archive = tarred(tmp_path / name, LARGE, COMPRESSED[name])
    altered(archive, int(at * archive.stat().st_size))
    refused(archive, tmp_path / "raw")


@pytest.mark.parametrize("last", [5, 8])  # bytes before the end: its size and its checksum are the last eight
def test_a_tar_with_a_wrong_checksum_is_found(tmp_path, last):
    archive = tarred(tmp_path / "x.tar.gz", LARGE)
    altered(archive, -last)
    assert "CRC check failed" in refused(archive, tmp_path / "raw")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_altered_byte_in_a_zip_is_found(tmp_path, method):
    archive = tmp_path / "x.zip"
    with zipfile.ZipFile(archive, "w", method) as file:
        file.writestr(*LARGE[0])
    altered(archive, 9000)
    refused(archive, tmp_path / "raw")


@pytest.mark.parametrize(("name", "mode"), [("x.tar", "w"), *COMPRESSED.items()])
def test_a_tar_that_ends_after_a_member_has_lost_the_others(tmp_path, name, mode):
    whole = tarred(tmp_path / "whole.tar", LARGE, "w").read_bytes()
    archive = tmp_path / name
    opened = {"x.tar": open, "x.tar.gz": gzip.open, "x.tar.bz2": bz2.open, "x.tar.xz": lzma.open}[name]
    with opened(archive, "wb") as file:
        file.write(whole[: 512 + 20_480])  # header and content of the first
    assert "no end of the archive" in refused(archive, tmp_path / "raw")


@pytest.mark.parametrize("damage", [b"\0" * 512, b"x" * 512])
def test_a_tar_whose_second_header_is_damaged_is_refused(tmp_path, damage):
    archive = tarred(tmp_path / "x.tar", LARGE, "w")
    data = archive.read_bytes()
    archive.write_bytes(data[:20_992] + damage + data[21_504:])
    assert "no end of the archive" in refused(archive, tmp_path / "raw")


def test_zips_that_cannot_be_read_are_refused(tmp_path):
    encrypted, unknown = (zipped(tmp_path / name, LARGE) for name in ("encrypted.zip", "unknown.zip"))
    central = encrypted.read_bytes().index(b"PK\1\2")
    for at in (6, central + 8):  # the flags, in the member's header and in the table of contents
        altered(encrypted, at)
    assert "is encrypted" in refused(encrypted, tmp_path / "a")
    for at in (8, central + 10):  # the method of compression
        altered(unknown, at, 93)
    assert "compression method is not supported" in refused(unknown, tmp_path / "b")


def test_an_archive_of_nothing_is_refused(tmp_path):
    assert "it is empty" in refused(tarred(tmp_path / "x.tar.gz", []), tmp_path / "a")
    assert "it is empty" in refused(zipped(tmp_path / "x.zip", []), tmp_path / "b")


def test_archives_that_share_folders_are_merged(tmp_path):
    one = tarred(tmp_path / "1.tar.gz", GOOD)
    two = zipped(tmp_path / "2.zip", [("set/deep/c.txt", b"four"), ("set/a.txt", b"one"), ("set/more/d.txt", b"five")])
    (tmp_path / "raw" / "set").mkdir(parents=True)
    (tmp_path / "raw" / "set" / "stale.txt").write_text("of an earlier version")
    unpack([one, two], tmp_path / "raw")
    found = {p.relative_to(tmp_path / "raw").as_posix(): p.read_bytes() for p in tmp_path.rglob("raw/**/*.txt")}
    assert found == dict(GOOD) | {"set/deep/c.txt": b"four", "set/more/d.txt": b"five"}


@pytest.mark.parametrize("name", ["set/a.txt", "set/deep", "set/a.txt/b.txt"])
def test_archives_that_contradict_each_other_are_refused(tmp_path, name):
    one, two = tarred(tmp_path / "1.tar", GOOD, "w"), tarred(tmp_path / "2.tar", [(name, b"two")], "w")
    (tmp_path / "raw").mkdir()
    with pytest.raises(ValueError, match=r"2\.tar: (a\.txt|deep) is in another archive too, with other content"):
        unpack([one, two], tmp_path / "raw")
    assert not list((tmp_path / "raw").iterdir())


def with_trailing(path, opened):
    """A tar of one small member, and 30 MB of zeros after its end."""
    tar = tarred(path.with_name("inner"), [("a", b"x")], "w").read_bytes()
    with opened(path, "wb") as file:
        file.write(tar)
        for _ in range(30):
            file.write(bytes(2**20))
    return path


def with_members(path, number):
    with tarfile.open(path, "w:xz") as tar:
        for i in range(number):
            tar.addfile(tarfile.TarInfo(f"{i}"))
    return path


def with_long_name(path):
    """A name of 4 GB, of which only the start is there: whoever asks for all of it fails otherwise."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 4_100_000_000
    with lzma.open(path, "wb") as file:
        file.write(info.tobuf(format=tarfile.GNU_FORMAT) + bytes(5_000_000))
    return path


def overlapping(path):
    """A zip whose directory names the data of its first member a hundred times."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a", bytes(5_000))
        first = file.filelist[0]
        for i in range(99):
            info = zipfile.ZipInfo(f"b{i}")
            for word in ("header_offset", "file_size", "compress_size", "CRC", "compress_type"):
                setattr(info, word, getattr(first, word))
            file.filelist.append(info)
    return path


def zip_of_zeros(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file, file.open("big", "w") as member:
        for _ in range(100):
            member.write(bytes(2**20))
    return path


BOMBS = {
    "trailing bz2": (lambda p: with_trailing(p, bz2.open), "unpacks to more bytes"),
    "trailing gz": (lambda p: with_trailing(p, gzip.open), "unpacks to more bytes"),
    "trailing xz": (lambda p: with_trailing(p, lzma.open), "unpacks to more bytes"),
    "members": (lambda p: with_members(p, 3_000), "more members than its size lets expect: at most 2,"),
    "long name": (with_long_name, "4,100,000,000 bytes of a member's name"),
    "zip of overlapping members": (overlapping, "overlaps with what follows it"),
    "zip of zeros": (zip_of_zeros, r"unpacks to more than \d+ bytes \(at big\)"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_archive_that_asks_for_much_is_refused_at_once(name, tmp_path, at_most):
    make, said = BOMBS[name]
    archive = make(tmp_path / "bomb")
    folder = tmp_path / "data"
    folder.mkdir()
    assert archive.stat().st_size < 700_000
    with at_most(5), pytest.raises(ValueError, match=said):
        unpack(archive, folder)
    assert not list(folder.iterdir())


def test_an_archive_in_an_archive_is_a_file(tmp_path):
    inner = zipped(tmp_path / "inner.zip", GOOD).read_bytes()
    (tmp_path / "data").mkdir()
    unpack(zipped(tmp_path / "x.zip", [("inner.zip", inner)]), tmp_path / "data")
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["inner.zip"]


def test_many_members_of_their_own_size_pass(tmp_path, monkeypatch):
    monkeypatch.setattr("reliquant.download.unpack.MEMBERS", 10)
    rng = np.random.default_rng(0)
    members = [(f"{i}.png", rng.bytes(90)) for i in range(1_200)]
    (tmp_path / "data").mkdir()
    unpack(tarred(tmp_path / "x.tar.gz", members), tmp_path / "data")
    assert len(list((tmp_path / "data").iterdir())) == 1_200


def test_a_word_raises_the_limits(tmp_path, monkeypatch):
    monkeypatch.setattr("reliquant.download.unpack.MEMBERS", 400)
    archive = with_members(tmp_path / "x.tar.xz", 700)
    (tmp_path / "data").mkdir()
    with pytest.raises(ValueError, match="RELIQUANT_LIMITS=2 doubles all limits"):
        unpack(archive, tmp_path / "data")
    monkeypatch.setenv("RELIQUANT_LIMITS", "2")
    unpack(archive, tmp_path / "data")
    assert len(list((tmp_path / "data").iterdir())) == 700
