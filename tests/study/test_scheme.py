import pytest

from reliquant.plugins import ConfigError
from reliquant.study.config import least_share
from reliquant.study.scheme import scheme_entry

GRIDS = {"weight": {"granularity": "channel", "bits": 4}, "activation": {"granularity": "tensor", "bits": 8}}


def test_a_scheme_is_a_name_or_a_mapping_in_yaml_or_in_python():
    assert scheme_entry("rtn", "w4a8") == {"quantizer": "rtn", **GRIDS}
    assert scheme_entry("{quantizer: lsq, lr: 1.0e-5}", "w4a8") == {"quantizer": "lsq", "lr": 1e-5, **GRIDS}
    grouped = scheme_entry({"quantizer": "rtn", "weight": {"granularity": "group", "group": 32}}, "w4a8")
    assert grouped["weight"] == {"granularity": "group", "group": 32, "bits": 4}


def test_the_least_share_that_a_scheme_means_is_no_word_of_its_quantizer():
    entry = scheme_entry({"quantizer": "rtn", "least_share": 0.5}, "w4a8")
    assert entry == {"quantizer": "rtn", **GRIDS, "least_share": 0.5}
    assert (least_share(entry), least_share({})) == (0.5, 0.8)


@pytest.mark.parametrize(
    ("scheme", "problem"),
    [
        (
            {"quantizer": "rtn", "least_share": 80},
            "scheme: least_share: Input should be less than or equal",
        ),
        ("rtnn", "scheme: quantizer 'rtnn' is unknown (did you mean 'rtn'?); there are "),
        ({"quantizer": "rtn", "weight": {"bits": 2}}, "scheme: weight: bits: come from the precision, such as w4a8"),
        ({"quantizer": "rtn", "lr": 1}, "scheme: lr: unknown word; rtn takes "),
    ],
)
def test_what_is_wrong_with_a_scheme_is_told(scheme, problem):
    with pytest.raises(ConfigError) as error:
        scheme_entry(scheme, "w4a8")
    assert len(error.value.problems) == 1
    assert problem in error.value.problems[0]
