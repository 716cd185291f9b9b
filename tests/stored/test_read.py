"""Tables as they are found: what there is, what was assumed, what is missing."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from reliquant.stored.read import read_table


def test_a_table_says_what_it_took_and_reads_when_asked(tmp_path):
    arrays = {"image_embeds": np.ones((3, 2), np.float16), "label": np.arange(3, dtype=np.int32)}
    save_file(arrays, tmp_path / "x.safetensors")
    table = read_table(tmp_path / "x.safetensors")
    assert table.said == (f"{tmp_path / 'x.safetensors'}: image is taken from image_embeds",)
    assert table.rows() == 3
    assert table.arrays["image"][:].dtype == np.float32
    assert table.arrays["label"][1:].tolist() == [1, 2]


def test_a_column_that_is_missing_is_told_with_what_there_is(tmp_path):
    save_file({"image": np.ones((3, 2)), "name": np.ones(3)}, tmp_path / "x.safetensors")
    told = r"x\.safetensors: has no tensor 'label'; there are image \(--names label=NAME says which is it\)"
    with pytest.raises(ValueError, match=told):
        read_table(tmp_path / "x.safetensors").require("image", "label")


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_table(tmp_path / "x.safetensors")
