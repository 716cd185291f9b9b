"""Small floats as float32, compared with ml_dtypes."""

import numpy as np
import pytest

from reliquant.stored.small_floats import from_bfloat16, from_e4m3, from_e5m2


@pytest.mark.parametrize(
    ("decode", "kind", "codes"),
    [
        (from_bfloat16, "bfloat16", np.arange(2**16, dtype=np.uint16)),
        (from_e5m2, "float8_e5m2", np.arange(256, dtype=np.uint8)),
        (from_e4m3, "float8_e4m3fn", np.arange(256, dtype=np.uint8)),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_every_code_is_the_number_that_ml_dtypes_reads(decode, kind, codes):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    theirs = codes.view(getattr(ml_dtypes, kind)).astype(np.float32)
    assert np.array_equal(decode(codes), theirs, equal_nan=True)
