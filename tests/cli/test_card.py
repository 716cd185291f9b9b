import json

import pytest

from reliquant.cli import main
from reliquant.deploy.folder import FACTS, digest_of_facts, sha256_of
from reliquant.deploy.measured import ROWS
from reliquant.files.artifacts import provenance, save_frame, save_json
from reliquant.report.synthetic import Shape, rows

FRAME = rows(Shape(models=(("vit", "wit"),), seeds=(0,), scopes=("image",), corruptions=(), iterations=(), ranks=()))


@pytest.fixture
def table(tmp_path):
    save_frame(tmp_path / ROWS, FRAME, provenance(assumed=["the text tower is FP32"], reference="fp32.npz"))
    return tmp_path / ROWS


def refused(*words):
    with pytest.raises(SystemExit) as stop:
        main.main([*map(str, words)])
    return str(stop.value.code)


def test_a_card_is_written_whole_to_a_file_with_what_made_the_rows(table, tmp_path, capsys):
    out = tmp_path / "new" / "README.md"
    words = ["--variant", "rtn", "w8a8", "--base-model", "a/b", "--license", "mit", "--tag", "onnx", "int8"]
    main.main(["card", str(table), *words, "--output", str(out)])
    assert capsys.readouterr().out == f"{out}: the card of vit rtn w8a8 image\n"
    text = out.read_text()
    assert text.startswith("---\nbase_model: a/b\nbase_model_relation: quantized\nlicense: mit\n")
    assert "| assumed | the text tower is FP32 |" in text
    assert "| versions | " in text
    main.main(["card", str(table), *words])
    assert capsys.readouterr().out == text


def test_json_holds_the_card(table, capsys):
    main.main(["card", str(table), "--variant", "rtn", "w8a8", "--title", "Mine", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["variants"] == ["vit rtn w8a8 image"]
    assert "\n# Mine\n" in found["card"]


def test_an_exported_folders_rows_make_its_card(table, tmp_path, capsys):
    facts = {"kind": "export", "to": "onnx", "towers": {}, "model_sha256": "", "variant_sha256": ""}
    facts["files"] = {ROWS: sha256_of(table)}
    save_json(tmp_path / FACTS, {**facts, "sha256": digest_of_facts(facts)})
    main.main(["card", str(tmp_path), "--variant", "lsq", "w4a8"])
    assert "# vit lsq w4a8 image" in capsys.readouterr().out
    assert "whose files must stay as they are" in refused("card", tmp_path, "--output", tmp_path / "README.md")


def test_words_that_no_variant_has_and_folders_for_files_are_refused(table, tmp_path):
    assert "did you mean rtn" in refused("card", table, "--variant", "rnt")
    assert "--output" in refused("card", table, "--output", tmp_path)
    assert "would be overwritten" in refused("card", table, "--output", table)
    assert "no such file" in refused("card", tmp_path / "none.parquet")
