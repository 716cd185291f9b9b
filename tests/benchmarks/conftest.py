"""Benchmarks as processes of their own that have their imports, where how they start is not what is tested."""

import pytest
from forked_programs import OF_STEPS, programs

from reliquant import plugins


@pytest.fixture(scope="session")
def ran():
    """Runs a file of benchmarks/ with words; returns what subprocess.run would."""

    def ran(name, *words):
        return programs(*OF_STEPS).run(name, *words, cwd=plugins.PACKAGE.parents[1] / "benchmarks")

    return ran
