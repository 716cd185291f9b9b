"""Random inputs with fixed seeds. `make fuzz` sets FUZZ_CASES and gets more of them, of other seeds."""

import os

import pytest


@pytest.fixture(scope="session")
def cases():
    """How many cases a test tries; the same ones every time unless FUZZ_CASES asks for more."""
    return lambda usual: int(os.environ.get("FUZZ_CASES", usual))
