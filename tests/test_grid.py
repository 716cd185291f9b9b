from dataclasses import replace

import pytest

from reliquant.grid import FORMATS, Grid, bits_of, parse_precision


def test_code_ranges():
    assert (Grid(bits=8).low, Grid(bits=8).high) == (-128, 127)
    assert (Grid(bits=2, signed=False, symmetric=False).low, Grid(bits=2, signed=False, symmetric=False).high) == (0, 3)


def test_a_grid_is_wide_where_int8_does_not_hold_its_codes():
    for bits in range(2, 17):
        signed, unsigned = Grid(bits=bits), Grid(bits=bits, signed=False, symmetric=False)
        assert signed.wide == (signed.high > 127)
        assert unsigned.wide  # also where int8 would hold them: unpacked codes have always been int16


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"bits": 1}, "bits must be from 2 to 16, not 1"),
        ({"bits": 17}, "not 17"),
        ({"bits": 8, "group": 0}, "group must be at least 1"),
        ({"bits": 8, "signed": False}, "symmetric: false"),
        ({"bits": 8, "granularity": "token"}, "dynamic: true"),
    ],
)
def test_impossible_grids_are_refused(words, message):
    with pytest.raises(ValueError, match=message):
        Grid(**words)


def test_a_grid_keeps_at_another_precision_what_the_scheme_said():
    own = Grid(bits=4, granularity="group", group=32, scale_type="fp32", symmetric=False)
    assert own.at({"bits": 8}) == replace(own, bits=8)
    assert own.at({"bits": 4}).least_bits == 4 + 32 / 32
    assert Grid(bits=4, granularity="group").at({"bits": 8}).scales_as == "fp16"


def test_a_grid_at_another_precision_has_nothing_of_the_format_it_had():
    for name in ("mxfp4", "nvfp4", "mxint8"):
        block = Grid(**FORMATS[name])
        assert block.at({"bits": 8}) == Grid(bits=8, granularity="channel")
    assert Grid(bits=8, element="e4m3").at({"bits": 4}) == Grid(bits=4)
    mxfp8, own = FORMATS["mxfp8"], Grid(bits=4, granularity="group", group=64, scale_type="fp32")
    assert own.at(mxfp8) == Grid(**mxfp8)


@pytest.mark.parametrize("name", FORMATS)
def test_zero_points_are_for_integers_alone(name):
    grid = Grid(bits=8, symmetric=False, signed=False).at(FORMATS[name])
    assert (grid.symmetric, grid.signed) == (True, True)
    assert not Grid(bits=8, symmetric=False).at({"bits": 4}).symmetric


def test_precisions_are_read():
    assert parse_precision("w4a8") == ({"bits": 4}, {"bits": 8})
    assert bits_of("w2a16") == (2, 16)
    assert bits_of("wnvfp4afp8") == (4, 8)


@pytest.mark.parametrize("word", ["w1a8", "w8a32", "W4A8", "int8", "w4"])
def test_other_precisions_are_refused_by_name(word):
    with pytest.raises(ValueError, match=word):
        parse_precision(word)
