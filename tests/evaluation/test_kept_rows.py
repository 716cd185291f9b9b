import numpy as np
import polars as pl
import pytest

from reliquant.evaluation.kept_rows import KeptRows
from reliquant.evaluation.one_layer import Sets, identity, one_at_a_time
from reliquant.files.digests import DamagedFile
from reliquant.images.prepare import Prepared
from reliquant.quantization.held_out import make_pairs
from reliquant.study.scheme import scheme_entry

ROWS = pl.DataFrame({"measure": ["a", "b"], "value": [0.1, 0.2], "p": [None, None]})


def prepared(seed, n=40):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
    meta = {"classes": ["one", "two"], "templates": ["a {}"], "entry": {"dataset": "made"}, "sha256": f"{seed}"}
    meta |= {"captions": [f"number {i}" for i in range(n)], "names": [str(i) for i in range(n)]}
    return Prepared(images, rng.integers(0, 2, n), meta)


def test_rows_come_back_as_they_were_and_only_to_their_own_run(tmp_path, capsys):
    kept = KeptRows.beside(tmp_path / "rows.parquet", {"seed": 0})
    assert kept.folder == tmp_path / "rows.layers"
    assert kept.found("blocks.0") is None
    with kept.alone():
        kept.keep("blocks.0", ROWS)
    assert kept.found("blocks.0").equals(ROWS)
    assert kept.found("blocks.1") is None
    assert capsys.readouterr().err == ""
    assert KeptRows(kept.folder, {"seed": 1}).found("blocks.0") is None
    assert "blocks.0 is tried again" in capsys.readouterr().err


def test_damaged_rows_are_tried_again_and_said(tmp_path, capsys):
    kept = KeptRows(tmp_path / "rows.layers", {})
    kept.folder.mkdir()
    kept.keep("blocks.0", ROWS)
    (path,) = kept.folder.iterdir()
    content = path.read_bytes()
    path.write_bytes(content[:20] + b"?" + content[21:])
    assert kept.found("blocks.0") is None
    assert "blocks.0 is tried again" in capsys.readouterr().err


def test_the_folder_is_gone_when_rows_are_forgotten_and_stays_when_a_run_is_interrupted(tmp_path):
    kept = KeptRows(tmp_path / "rows.layers", {})
    with kept.alone():
        kept.keep("blocks.0", ROWS)
    assert kept.found("blocks.0").equals(ROWS)
    with kept.alone():
        kept.clear()
    assert not kept.folder.exists()
    with kept.alone():
        pass
    assert not kept.folder.exists()  # nothing was kept


def test_something_else_in_the_folder_s_place_is_refused_by_name(tmp_path):
    (tmp_path / "rows.layers").write_text("mine")
    with (
        pytest.raises(DamagedFile, match=r"rows\.layers: is no folder"),
        KeptRows(tmp_path / "rows.layers", {}).alone(),
    ):
        pass


def test_layers_that_were_tried_are_taken_from_what_is_kept_and_others_are_tried(vit, tmp_path):
    sets, entry = Sets({"known": prepared(1)}, {"other": prepared(2)}, batch=32), scheme_entry("rtn", "w3a8")
    pairs, words = make_pairs(prepared(3), None, 0, "cpu"), {"by": "block", "resamples": 100}
    run = identity(vit, entry, "image", pairs, sets, **words)
    whole = one_at_a_time(vit, entry, "image", pairs.proxy, sets, **words)
    kept = KeptRows(tmp_path / "rows.layers", run)
    first, *others = whole["group"].unique(maintain_order=True)
    with kept.alone():
        kept.keep(first, whole.filter(group=first).with_columns(value=pl.lit(7.0)))
        found = one_at_a_time(vit, entry, "image", pairs.proxy, sets, **words, kept=kept)
    assert set(found.filter(group=first)["value"]) == {7.0}
    assert found.filter(pl.col("group") != first).equals(whole.filter(pl.col("group") != first))
    assert all(kept.found(name).equals(whole.filter(group=name)) for name in others)


@pytest.mark.parametrize("what", ["precision", "scope", "pairs", "images", "against", "by", "resamples", "weights"])
def test_a_run_is_told_from_others_by_all_that_its_rows_depend_on(vit, what):
    sets, entry = Sets({"known": prepared(1)}, {"other": prepared(2)}, batch=32), scheme_entry("rtn", "w3a8")
    pairs, scope, words = make_pairs(prepared(3), None, 0, "cpu"), "image", {"by": "block", "resamples": 100}
    run = identity(vit, entry, scope, pairs, sets, **words)
    assert identity(vit, entry, scope, pairs, sets, **words) == run
    if what == "precision":
        entry = scheme_entry("rtn", "w4a8")
    elif what == "scope":
        scope = "both"
    elif what == "pairs":
        pairs = make_pairs(prepared(4), None, 0, "cpu")
    elif what == "images":
        sets = Sets({"known": prepared(5)}, sets.others, batch=32)
    elif what == "against":
        sets = Sets(sets.labelled, sets.others, batch=32, against={"other": []})
    elif what == "weights":
        vit.model.logit_scale.data += 0.1
    else:
        words[what] = {"by": "layer", "resamples": 200}[what]
    assert identity(vit, entry, scope, pairs, sets, **words) != run
