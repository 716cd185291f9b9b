"""Safetensors as torch and numpy write them."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from reliquant.files.digests import DamagedFile
from reliquant.stored.layouts.safetensors import columns


def test_every_type_is_read_as_torch_reads_it(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file
    from safetensors.torch import save_file as save

    kinds = ["float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"]
    kinds += ["int64", "int32", "int16", "int8", "uint8", "bool"]
    values = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)) * 3
    save({kind: values.to(getattr(torch, kind)) for kind in kinds}, tmp_path / "x.safetensors")
    ours, theirs = columns(tmp_path / "x.safetensors"), load_file(tmp_path / "x.safetensors")
    assert set(ours) == set(kinds)
    for name, tensor in theirs.items():
        assert ours[name].shape == (5, 3)
        assert np.array_equal(ours[name].exact(slice(1, 4)), tensor[1:4].to(torch.float64).numpy()), name


def test_a_tensor_of_a_type_that_says_nothing_here_has_none(tmp_path):
    save_file({"image": np.ones((2, 2), "c8"), "x": np.ones(2)}, tmp_path / "x.safetensors")
    found = columns(tmp_path / "x.safetensors")
    assert found["image"].given is None
    assert found["image"].stored == "C64"
    assert found["x"][:].tolist() == [1, 1]


@pytest.mark.parametrize("content", [b"", b"x" * 50, b"\x93NUMPY" + bytes(60)])
def test_what_is_no_safetensors_is_refused_by_name(tmp_path, content):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(DamagedFile, match=r"x\.safetensors: truncated or not a safetensors file"):
        columns(tmp_path / "x.safetensors")
