"""What a study may not do on pairs whose captions say nothing about their images."""

import pytest

from reliquant import plugins
from reliquant.study.check import read_study

DATASETS = {
    "digits": {"dataset": "digits"},
    "noise": {"dataset": "data_free", "kind": "noise", "images": 100},
    "pairs": {"dataset": "lab_captions", "world": "web", "images": 100},
}
CONFIG = {
    "study": "unpaired",
    "title": "Unpaired",
    "models": {"m": {"tower": "small", "architecture": "lab-vit", "pretrain": {"pairs": "pairs", "steps": 1}}},
    "datasets": DATASETS,
    "suites": {"clean": ["digits"]},
    "proxies": {"noise": {"of": "noise", "pairs": 100}, "pairs": {"of": "pairs", "pairs": 100}},
    "schemes": {"rtn": {"quantizer": "rtn"}},
    "tuning": "match_fp32",
}


def problems(**changed):
    try:
        read_study({**CONFIG, **changed})
    except plugins.ConfigError as error:
        return [problem for problem in error.problems if "say nothing" in problem]
    return []


def test_a_method_that_only_calibrates_may_use_them():
    assert problems() == []


def test_logit_scales_are_not_tuned_on_their_agreement():
    (told,) = problems(tuning="contrastive")
    assert told.startswith("proxy noise: the captions of its dataset say nothing about the images: tuning: contrastive")


@pytest.mark.parametrize(
    ("scheme", "count"),
    [
        ({"quantizer": "lsq"}, 1),  # whose loss is contrastive unless another is named
        ({"quantizer": "lsq", "losses": [{"loss": "sigmoid"}]}, 1),
        ({"quantizer": "lsq", "losses": [{"loss": "distillation"}]}, 0),
        ({"quantizer": "distill"}, 0),
        ({"quantizer": "lsq", "proxies": ["pairs"]}, 0),
    ],
)
def test_no_scheme_is_trained_on_their_agreement(scheme, count):
    told = problems(schemes={"s": scheme})
    assert len(told) == count
    assert all("learns the agreement of pairs, but of noise the captions" in line for line in told)
