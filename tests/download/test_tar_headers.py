"""Headers of a tar that declare gigabytes are refused before a byte of them is read."""

import io
import tarfile

import pytest

from reliquant.download.tar_headers import Header, members
from reliquant.download.unpack import unpack
from reliquant.files.bounded import TooMuch
from reliquant.images.webdataset import samples


class Endless(io.RawIOBase):
    """A header, and after it as many zeros as anybody asks for; counts what was asked."""

    def __init__(self, head):
        self.head, self.at, self.most = head, 0, 0

    def tell(self):
        return self.at

    def seek(self, at, whence=0):
        self.at = at
        return at

    def read(self, size=-1):
        self.most = max(self.most, size)
        assert size < 2**24, size
        data = self.head[self.at : self.at + size]
        self.at += size
        return data + bytes(size - len(data))


def header(kind, size, name="x"):
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(format=tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    "kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, b"X"]
)
def test_a_name_of_gigabytes_is_not_read(kind):
    stream = Endless(header(kind, 4_100_000_000))
    with pytest.raises(TooMuch, match=r"at byte 0: 4,100,000,000 bytes of a member's"):
        tarfile.open(fileobj=stream, mode="r:", tarinfo=Header)  # noqa: SIM115  reads the first header
    assert stream.most <= 512


def sparse(version):
    """A member that PAX headers call sparse, as GNU tar writes them in three versions."""
    words = {"0.0": {"GNU.sparse.numblocks": "1"}, "0.1": {"GNU.sparse.map": "0,1"}, "1.0": {"GNU.sparse.major": "1"}}
    more = {"GNU.sparse.minor": "0", "GNU.sparse.size": "10"} | words[version]
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("x.jpg")
        info.size, info.pax_headers = 512, more
        tar.addfile(info, io.BytesIO(b"9" * 512))
    return file.getvalue()


@pytest.mark.parametrize("data", [header(b"S", 512) + bytes(2048), sparse("0.0"), sparse("0.1"), sparse("1.0")])
def test_a_sparse_member_is_refused(data, tmp_path):
    path = tmp_path / "x.tar"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"x\.tar.*a sparse member, at byte"):
        samples(path)


def test_headers_that_extend_one_another_without_end_are_damage(tmp_path):
    path = tmp_path / "x.tar"
    path.write_bytes(header(tarfile.XHDTYPE, 0) * 5_000 + bytes(1024))
    with pytest.raises(ValueError, match=r"x\.tar.*more than 16 headers that extend one another"):
        samples(path)


def test_long_names_and_members_pass_and_none_is_kept():
    file = io.BytesIO()
    names = [f"{'long/' * 200}{i}.jpg" for i in range(50)]
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=form) as tar:
            for name in names:
                tar.addfile(tarfile.TarInfo(name))
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:", tarinfo=Header) as tar:
            assert [member.name for member in members(tar)] == names
            assert len(tar.members) <= 1


def in_base_256(size):
    info = tarfile.TarInfo("x.jpg")
    info.size = size
    return info.tobuf(format=tarfile.GNU_FORMAT)


def by_pax(size):
    info = tarfile.TarInfo("x.jpg")
    info.pax_headers = {"size": str(size)}
    return info.tobuf(format=tarfile.PAX_FORMAT)


@pytest.mark.parametrize(
    "data", [in_base_256(2**63), in_base_256(2**80), in_base_256(-5), by_pax(2**70), by_pax(10**999), by_pax(-5)]
)
def test_a_member_of_a_size_that_no_file_has_is_damage(data, tmp_path):
    path = tmp_path / "x.tar"
    path.write_bytes(data + bytes(1024))
    with pytest.raises(ValueError, match=r"x\.tar: "):
        samples(path)
    with pytest.raises(ValueError, match=r"x\.tar: "):
        unpack(path, tmp_path)
