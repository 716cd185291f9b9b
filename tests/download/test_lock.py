import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from reliquant.download.lock import check, check_or_record, read_lock
from reliquant.files.artifacts import DamagedFile

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_the_lock_records_once_and_refuses_another_file(tmp_path):
    lock, facts = tmp_path / "config" / "weights.lock.json", {"revision": None, "file": "a", "sha256": "1", "bytes": 1}
    assert check_or_record(lock, "ViT-B-32/openai", facts)
    assert not check_or_record(lock, "ViT-B-32/openai", facts)
    assert read_lock(lock) == {"ViT-B-32/openai": facts}
    with pytest.raises(DamagedFile, match=r"ViT-B-32/openai: a has the sha256 2, not 1 as .*weights\.lock\.json says"):
        check_or_record(lock, "ViT-B-32/openai", {**facts, "sha256": "2"})
    for text, said in (
        ("[", "is no JSON"),
        ("[]", "holds a list, where an object is expected"),
        ('{"a": "1"}', "must be an object with"),
    ):
        lock.write_text(text)
        with pytest.raises(DamagedFile, match=said):
            read_lock(lock)


@pytest.mark.parametrize("more", [{}, {"sha256": None}])
def test_a_lock_of_a_revision_only_gains_the_sum(tmp_path, more):
    lock, facts = tmp_path / "weights.lock.json", {"revision": COMMIT, "file": "a", "sha256": "1", "bytes": 1}
    lock.write_text(json.dumps({"tiny/clip": {"revision": COMMIT, **more}}))
    other = {**facts, "revision": COMMIT[::-1]}
    with pytest.raises(DamagedFile, match=f"tiny/clip: a has the revision {COMMIT[::-1]}, not {COMMIT} as .* says"):
        check_or_record(lock, "tiny/clip", other)
    check_or_record(lock, "tiny/clip", facts)
    assert read_lock(lock) == {"tiny/clip": facts}


def test_jobs_that_fetch_at_once_are_all_recorded(tmp_path):
    lock = tmp_path / "weights.lock.json"
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda i: check_or_record(lock, str(i), {"sha256": str(i)}), range(64)))
    assert read_lock(lock) == {str(i): {"sha256": str(i)} for i in range(64)}


def test_nothing_is_pinned_without_a_lock_file(tmp_path):
    assert read_lock(tmp_path / "none.json") == {}
    assert not check(tmp_path / "none.json", "a", {"sha256": "1"})


def test_only_a_sum_vouches_for_a_file(tmp_path):
    lock = tmp_path / "data.lock.json"
    lock.write_text(json.dumps({"a": {"sha256": "1", "bytes": 3}, "b": {"revision": COMMIT}}))
    assert check(lock, "a", {"sha256": "1"})
    assert not check(lock, "b", {"sha256": "1", "revision": COMMIT})
    with pytest.raises(DamagedFile, match=r"a: here\.bin has the sha256 2, not 1 as .*data\.lock\.json says"):
        check(lock, "a", {"sha256": "2", "file": "here.bin"})
    assert read_lock(lock)["a"] == {"sha256": "1", "bytes": 3}  # to check records nothing
