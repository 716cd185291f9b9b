"""Random inputs with fixed seeds. `make fuzz` sets FUZZ_CASES and gets more of them, of other seeds."""

import os
import sys

import pytest

from reliquant.cli.main import main
from reliquant.steps import run


@pytest.fixture(scope="session")
def cases():
    """How many cases a test tries; the same ones every time unless FUZZ_CASES asks for more."""
    return lambda usual: int(os.environ.get("FUZZ_CASES", usual))


@pytest.fixture(scope="session")
def damaged():
    """Cut a file's bytes, flip one of its bits, put other bytes among them, take some out, or change many."""

    def change(content, rng):
        at = rng.randrange(len(content))
        kind = rng.choice(["cut", "cut", "flip", "flip", "flip", "more", "less", "other", "empty", "zip"])
        bytes_of = {
            "cut": lambda: content[:at],
            "flip": lambda: content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :],
            "more": lambda: content[:at] + rng.randbytes(rng.randrange(1, 40)) + content[at:],
            "less": lambda: content[:at] + content[at + rng.randrange(1, 40) :],
            "other": lambda: content[:at] + rng.randbytes(8) + content[at + 8 :],
            "empty": lambda: b"",
            "zip": lambda: b"PK\x03\x04" + content,
        }
        return kind, bytes_of[kind]()

    return change


@pytest.fixture
def stopped(monkeypatch, capsys):
    """Run a command (`reliquant ...`) or a step; return what stopped it ("" if nothing), its stdout and its stderr.

    An error that nobody foresaw, of a library or a fault of ours, is told with `--debug`: a fault to the tests here.
    """

    def call(step, *words):
        capsys.readouterr()
        words, said = [str(word) for word in words], ""
        try:
            if step is None:
                main(words)
            else:
                monkeypatch.setattr(sys, "argv", ["step", *words])
                run(step.main)
        except SystemExit as stop:
            said = str(stop.code or "")
        except BaseException as error:
            said = f"{type(error).__name__}: {error} --debug"
        out = capsys.readouterr()
        return said, out.out, out.err

    return call


@pytest.fixture
def faults_of():
    """Say what is wrong with how an input was refused: not foreseen, of several lines, or without the file's name."""

    def check(said, path):
        if "--debug" in said:
            return said.replace(str(path), "FILE")
        if said and (str(path) not in said or "\n" in said):
            return f"unnamed: {said}"
        return ""

    return check
