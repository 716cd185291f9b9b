import io
import stat
import tarfile
import zipfile

import pytest

from reliquant.records import DamagedFile
from reliquant.unpack import unpack


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
