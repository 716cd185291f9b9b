import os
import subprocess
import sys

import pytest
import torch
from torch.nn.functional import gelu

from reliquant.layers.int8 import Product, fast_on, takes_unsigned


def test_a_product_of_codes_by_hand():
    weight = torch.tensor([[1, -2, 3], [0, 5, -128]], dtype=torch.int8)
    product = Product(weight, torch.tensor([0.5, 2.0]), torch.tensor([10.0, 0.0]))
    kind = torch.uint8 if takes_unsigned(torch.device("cpu")) else torch.int8
    found = product(torch.tensor([[1, 2, 3], [127, 0, 4]], dtype=kind))
    assert found.tolist() == [[13.0, -748.0], [79.5, -1024.0]]  # 0.5 * 6 + 10, 2 * -374; 0.5 * 139 + 10, 2 * -512


def product(sums, bias=0.0):
    """A product of one input, code 1, whose sums are the given codes: out = sums / 32 + bias."""
    weight = torch.tensor(sums, dtype=torch.int8)[:, None]
    return Product(weight, torch.full((len(sums),), 1 / 32), torch.full((len(sums),), bias))


ONE = torch.ones(1, 1, dtype=torch.uint8)
needs_onednn = pytest.mark.skipif(not takes_unsigned(torch.device("cpu")), reason="needs a CPU with VNNI")


@needs_onednn
@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_may_follow_in_the_same_pass(approximate):
    sums = list(range(-128, 128, 5))
    made = product(sums, bias=0.25)
    made.then("gelu" if approximate == "none" else "gelu tanh")
    expected = gelu(torch.tensor(sums) / 32 + 0.25, approximate=approximate)
    torch.testing.assert_close(made(ONE)[0], expected, atol=1e-5, rtol=1e-5)


@needs_onednn
@pytest.mark.parametrize("activation", ["", "quick gelu"])
def test_rounding_to_codes_may_follow(activation):
    sums = list(range(-128, 128, 5))
    made = product(sums)
    made.then(activation, 0.03, 100)
    x = torch.tensor(sums).double() / 32
    x = x * torch.sigmoid(1.702 * x) if activation else x
    codes = (x / 0.03).round().add(100).clamp(0, 255)
    assert made(ONE).dtype == torch.uint8
    assert (made(ONE)[0].double() - codes).abs().max() <= (1 if activation else 0)  # a tie may fall to the other side


@needs_onednn
def test_a_product_may_add_to_what_is_there():
    onto = torch.full((1, 3), 10.0)
    found = product([32, 64, -96])(ONE, onto)
    assert found.data_ptr() == onto.data_ptr()
    assert onto.tolist() == [[11.0, 12.0, 7.0]]


@needs_onednn
def test_quick_gelu_without_rounding_is_refused():
    with pytest.raises(ValueError, match="quick gelu needs a step"):
        product([1]).then("quick gelu")


def test_nothing_follows_the_product_of_torch(monkeypatch):
    monkeypatch.setattr("reliquant.layers.int8.takes_unsigned", lambda device: False)
    with pytest.raises(ValueError, match="only oneDNN"):
        product([1]).then("gelu")


def test_a_device_without_a_kernel_says_so():
    assert fast_on(torch.device("meta")) == "no int8 kernel for meta"
    assert not takes_unsigned(torch.device("meta"))


@pytest.mark.skipif(not takes_unsigned(torch.device("cpu")), reason="needs a CPU with VNNI")
@pytest.mark.parametrize("rows", [1, 40])
def test_where_onednn_may_not_use_vnni_its_saturating_sums_are_not_used(rows):
    """oneDNN reads ONEDNN_MAX_CPU_ISA when it starts, so another process tells."""
    script = f"""
import torch
from reliquant.layers.int8 import Product, fast_on, takes_unsigned
cpu = torch.device("cpu")
print(fast_on(cpu), takes_unsigned(cpu))
weight = torch.full((8, 32), 127, dtype=torch.int8)
codes = torch.full(({rows}, 32), 127, dtype=torch.int8)
print(Product(weight, torch.ones(8), None)(codes).unique().tolist())
"""
    env = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    told = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True).stdout
    assert told.splitlines() == [
        "oneDNN does not use the CPU's VNNI, and its sums of products saturate False",
        f"[{32 * 127 * 127}.0]",
    ]
