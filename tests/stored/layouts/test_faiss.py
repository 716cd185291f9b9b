"""Flat indexes, as FAISS writes them."""

import struct

import numpy as np
import pytest

from reliquant.files.digests import DamagedFile
from reliquant.stored.layouts.faiss import begins_an_index, columns

VECTORS = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
CONTENT = VECTORS.tobytes()


def index(rows=20, width=6, letters=b"IxFI", metric=0, content=CONTENT):
    """Write an index by the layout of the format."""
    unused = 2**20
    facts = letters + struct.pack("<iqqq?i", width, rows, unused, unused, True, metric)
    return facts + struct.pack("<q", len(content) // 4) + content


@pytest.mark.parametrize("kind", ["IndexFlatIP", "IndexFlatL2", "IDMap", "IDMap2"])
def test_vectors_and_ids_are_those_that_faiss_holds(tmp_path, kind):
    faiss = pytest.importorskip("faiss", reason="faiss is not installed: pip install faiss-cpu")
    flat = getattr(faiss, kind)(6) if kind.startswith("Index") else faiss.IndexFlatIP(6)
    ids = np.arange(20, dtype=np.int64)[::-1].copy() * 7
    written = flat if kind.startswith("Index") else getattr(faiss, f"Index{kind}")(flat)
    if written is flat:
        written.add(VECTORS)
    else:
        written.add_with_ids(VECTORS, ids)
    faiss.write_index(written, str(tmp_path / "image.index"))
    assert begins_an_index((tmp_path / "image.index").read_bytes()[:512])
    found = columns(tmp_path / "image.index")
    assert np.array_equal(found["image"][:], VECTORS)
    assert ("id" in found) == (written is not flat)
    if written is not flat:
        assert found["id"][:].tolist() == ids.tolist()


def test_an_index_that_is_not_flat_is_refused(tmp_path):
    faiss = pytest.importorskip("faiss", reason="faiss is not installed: pip install faiss-cpu")
    coarse = faiss.IndexFlatIP(6)
    written = faiss.IndexIVFFlat(coarse, 6, 2)
    written.train(VECTORS)
    written.add(VECTORS)
    faiss.write_index(written, str(tmp_path / "image.index"))
    assert begins_an_index((tmp_path / "image.index").read_bytes()[:512])
    with pytest.raises(ValueError, match=r"image\.index: an index of FAISS of kind 'IwFl'; only flat ones"):
        columns(tmp_path / "image.index")


def test_the_layout_written_by_hand_is_read(tmp_path):
    (tmp_path / "image.index").write_bytes(index())
    assert np.array_equal(columns(tmp_path / "image.index")["image"][3:5], VECTORS[3:5])
    (tmp_path / "image.index").write_bytes(index(letters=b"IxF2", metric=1))
    assert np.array_equal(columns(tmp_path / "image.index")["image"][:], VECTORS)


@pytest.mark.parametrize(
    "content",
    [index()[:20], index()[:-1], index(rows=21), index(rows=-20), index(width=2**30), index(content=b"")],
)
def test_an_index_that_declares_what_it_does_not_hold_is_refused(tmp_path, content):
    (tmp_path / "image.index").write_bytes(content)
    with pytest.raises(DamagedFile, match=r"image\.index: truncated"):
        columns(tmp_path / "image.index")
