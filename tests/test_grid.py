import pytest

from reliquant.grid import Grid, bits_of, parse_precision


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


def test_precisions_are_read():
    assert parse_precision("w4a8") == ({"bits": 4}, {"bits": 8})
    assert bits_of("w2a16") == (2, 16)
    assert bits_of("wnvfp4afp8") == (4, 8)


@pytest.mark.parametrize("word", ["w1a8", "w8a32", "W4A8", "int8", "w4"])
def test_other_precisions_are_refused_by_name(word):
    with pytest.raises(ValueError, match=word):
        parse_precision(word)
