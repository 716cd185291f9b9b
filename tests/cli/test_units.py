import pytest

from reliquant.cli.units import size_in_words, time_in_words


@pytest.mark.parametrize(
    ("hours", "words"),
    [
        (0, "under a minute"),
        (1 / 60, "1 minute"),
        (0.999, "1 hour"),
        (23.999, "1 day"),
        (47.6, "2 days"),
        (8784, "366 days"),
    ],
)
def test_a_time_is_rounded_before_it_is_parted_into_units(hours, words):
    assert time_in_words(hours) == words


def test_a_size_below_a_kibibyte_is_in_bytes():
    assert size_in_words(1023) == "1,023 bytes"
    assert size_in_words(1024) == "1.0 KiB"
