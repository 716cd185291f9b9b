import dataclasses

import pytest

from reliquant.download import part_file
from reliquant.download.source import Source

KNOWN = Source("https://example.org/set.tar", "1" * 64, 9, "free")
UNKNOWN = dataclasses.replace(KNOWN, sha256=None, bytes=None)
NOTE = {"url": KNOWN.url, "version": '"tag"', "bytes": 9}


@pytest.fixture
def part(tmp_path):
    """The first four bytes of a download, and their note."""
    path = tmp_path / ".set.tar.part"
    path.write_bytes(b"some")
    part_file.begin(path, NOTE)
    return path


@pytest.mark.parametrize("source", [KNOWN, UNKNOWN])
def test_a_part_of_a_known_version_is_gone_on_with(part, source):
    assert part_file.begun(part, source) == NOTE
    assert part_file.size(part) == 4


@pytest.mark.parametrize("lost", ["version", "address", "note"])
def test_a_part_of_an_unknown_version_is_kept_only_where_a_sha256_will_tell(part, lost):
    if lost == "version":
        part_file.begin(part, {**NOTE, "version": None})
    elif lost == "address":
        part_file.begin(part, {**NOTE, "url": "https://example.org/other.tar"})
    else:
        part.with_name(f"{part.name}.json").write_text("{")
    part_file.begun(part, KNOWN)
    assert part_file.size(part) == 4
    assert part_file.begun(part, UNKNOWN) == {}
    assert part_file.size(part) == 0
    assert not list(part.parent.iterdir())


def test_a_whole_file_moves_to_its_place_and_leaves_nothing(part, tmp_path):
    part_file.finish(part, tmp_path / "set.tar")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"set.tar": b"some"}
