import pytest

from reliquant.files.digests import DamagedFile
from reliquant.study.built_from import describing_files, require_same_files


def test_configs_of_a_folder_count_and_weights_do_not(tmp_path):
    for name in ("open_clip_config.json", "deep/tokenizer.json", "open_clip_model.safetensors", ".hidden"):
        (tmp_path / "model" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / name).write_text("{}")
    (tmp_path / "w.pt").write_text("weights")
    entry = {"tower": "openclip", "architecture": f"local-dir:{tmp_path}/model", "pretrained": str(tmp_path / "w.pt")}
    found = describing_files(entry)
    assert sorted(found) == ["architecture/deep/tokenizer.json", "architecture/open_clip_config.json"]
    header = {"tower": entry, "built_from": {"files": found}}
    require_same_files(tmp_path / "m", header)
    (tmp_path / "model" / "deep" / "tokenizer.json").write_text("[]")
    with pytest.raises(DamagedFile, match=r"m: was built from other files: architecture/deep/tokenizer\.json \("):
        require_same_files(tmp_path / "m", header)
    require_same_files(tmp_path / "m", {"tower": entry})  # of an earlier version


@pytest.mark.parametrize("files", [None, "x", ["a"]])
def test_what_tells_of_no_files_is_damaged(tmp_path, files):
    with pytest.raises(DamagedFile, match="m: was built from other files"):
        require_same_files(tmp_path / "m", {"tower": {"tower": "small"}, "built_from": {"files": files}})
