import numpy as np
import pytest

from reliquant.evaluation.stored_embeddings import load_embeddings, require_embeddings_of, save_embeddings
from reliquant.files.artifacts import DamagedFile, save_tensors
from reliquant.measures.retrieval import Captioned

LABELS = {"study": "s", "model": "m", "scheme": "rtn", "precision": "w4a8", "scope": "both", "proxy": "p", "seed": 0}
FP32 = {**LABELS, "scheme": "fp32", "precision": "fp32", "scope": "none", "proxy": "none"}
FACTS = {"labels": LABELS, "variant": "v", "model_sha256": "f", "data": {"a/meta.json": "1"}}


def captioned(**words):
    rows = np.eye(3, dtype=np.float32)
    return Captioned(rows[:2], rows, np.array([0, 1, 1]), **words)


def saved(path, **facts):
    sets = {"a": captioned(), "b": captioned(label=np.array([0, -1]), photographs=np.array([2**63, 7], np.uint64))}
    save_embeddings(path, sets, {"a": {"repeated": 1}, "b": {}}, **{**FACTS, **facts})
    return path


def test_what_is_written_is_read_to_the_bit(tmp_path):
    found, header = load_embeddings(saved(tmp_path / "e.safetensors"))
    assert list(found) == ["a", "b"]
    assert header["sets"] == {"a": {"repeated": 1}, "b": {}}
    assert found["a"].label is found["a"].photographs is None
    assert found["b"].photographs.tolist() == [2**63, 7]
    assert found["b"].label.tolist() == [0, -1]
    assert np.array_equal(found["a"].text, np.eye(3, dtype=np.float32))
    first, again = saved(tmp_path / "f.safetensors").read_bytes(), saved(tmp_path / "g.safetensors").read_bytes()
    assert first == again


def test_another_file_or_a_changed_one_is_refused_by_name(tmp_path):
    save_tensors(tmp_path / "v.safetensors", {"x": np.zeros(2)}, {"kind": "variant"})
    with pytest.raises(DamagedFile, match=r"v\.safetensors: is a variant, not embeddings"):
        load_embeddings(tmp_path / "v.safetensors")
    arrays = {"a/image": np.eye(3), "a/text": np.eye(3, dtype=np.float32)}
    save_tensors(tmp_path / "w.safetensors", arrays, {"kind": "embeddings", "sets": {"a": {}}, **FACTS})
    with pytest.raises(DamagedFile, match=r"w\.safetensors: a/image is float64 \(3, 3\), not float32 in 2 axes"):
        load_embeddings(tmp_path / "w.safetensors")
    content = bytearray(saved(tmp_path / "x.safetensors").read_bytes())
    content[-3] ^= 1
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(DamagedFile, match=r"x\.safetensors: the tensors do not match"):
        load_embeddings(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"labels": LABELS}, "scheme 'rtn'"),
        ({"model_sha256": "g"}, "is of another FP32 model"),
        ({"data": {"a/meta.json": "2"}}, "is of other images or captions"),
    ],
)
def test_a_baseline_that_is_not_fp32_s_of_the_same_data_is_refused(tmp_path, change, told):
    own, baseline = saved(tmp_path / "own.safetensors"), tmp_path / "fp32.safetensors"
    require_embeddings_of(LABELS, own, saved(baseline, labels=FP32), ["a", "b"])
    saved(baseline, **{"labels": FP32, **change})
    with pytest.raises(DamagedFile, match=rf"fp32\.safetensors: .*{told}"):
        require_embeddings_of(LABELS, own, baseline)
    with pytest.raises(DamagedFile, match=r"own\.safetensors: is of precision 'w4a8', not of"):
        require_embeddings_of({**LABELS, "precision": "w8a8"}, own, None)
    with pytest.raises(DamagedFile, match=r"own\.safetensors: holds the sets a, b, not a"):
        require_embeddings_of(LABELS, own, None, ["a"])
