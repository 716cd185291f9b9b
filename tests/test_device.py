import argparse
import os

import pytest
import torch

from reliquant.device import add_words, choose, chosen


def words(*given):
    parser = argparse.ArgumentParser()
    add_words(parser)
    return parser.parse_args(given)


def test_deterministic_kernels_are_used_on_request_only(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    threads = torch.get_num_threads()
    try:
        assert chosen(words("--device", "cpu")) == "cpu"
        assert not torch.are_deterministic_algorithms_enabled()
        chosen(words("--deterministic", "--device", "cpu"))
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(threads)


def test_an_absent_device_is_refused_by_name():
    with pytest.raises(ValueError, match="'nonsense' is not available here"):
        chosen(words("--device", "nonsense"))


def test_float32_is_float32_once_a_device_is_chosen():
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        torch.set_float32_matmul_precision("high")  # as with TORCH_ALLOW_TF32_CUBLAS_OVERRIDE=1
        torch.backends.cudnn.allow_tf32 = True  # as torch starts
        assert choose("cpu") == "cpu"
        assert torch.get_float32_matmul_precision() == "highest"
        assert not torch.backends.cuda.matmul.allow_tf32
        assert not torch.backends.cudnn.allow_tf32
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
