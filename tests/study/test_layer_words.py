import pytest

from reliquant.plugins import ConfigError
from reliquant.study.entries import entry_problems
from reliquant.study.layer_words import FACTORS, attention_of
from reliquant.study.scheme import scheme_entry


def entry(attention, precision="w8a8", **words):
    return scheme_entry({"quantizer": "rtn", "layers": {"attention": attention}, **words}, precision)


def test_all_means_every_factor_of_both_towers():
    both = {"image": list(FACTORS), "text": list(FACTORS)}
    assert attention_of(entry("all")).towers == both
    assert attention_of(entry({"image": "all", "text": "all"})).towers == both
    assert attention_of(entry({"text": "all"})).towers == {"text": list(FACTORS)}
    assert attention_of(entry({"image": ["v", "q"]})).towers == {"image": ["v", "q"]}


def test_nothing_said_means_none():
    assert attention_of({"quantizer": "rtn"}) is None
    assert attention_of({"quantizer": "rtn", "layers": {"keep": ["first"]}}) is None


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        (None, {"bits": 6}),
        ("a4", {"bits": 4}),
        ("fp8", {"bits": 8, "element": "e4m3"}),
        ("afp4", {"bits": 4, "element": "e2m1"}),
    ],
)
def test_the_precision_is_that_of_activations_or_its_own(word, meant):
    assert attention_of(entry({"image": "all", "precision": word})).words("w4a6") == meant


FORMATS = "formats: fp8, fp8e5m2, fp6"


@pytest.mark.parametrize(
    ("attention", "told"),
    [
        ("some", "layers: attention: must be all, or a mapping of image and text to lists of factors, got"),
        (None, "layers: attention: must be all, or a mapping; leave it out to round nothing of attention, got"),
        ({}, "layers: attention: names no factors; give image or text all, or some of q, k, v"),
        ({"image": []}, "names no factors"),
        ({"image": "q"}, "layers: attention: image: must be all, or a list of q, k, v, probabilities, got"),
        ({"image": ["q", "w"]}, "layers: attention: image: 1: Input should be 'q', 'k', 'v' or 'probabilities', got"),
        ({"imag": "all"}, "layers: attention: imag: unknown word; there are image, text, precision, probabilities"),
        ({"image": "all", "precision": 8}, "layers: attention: precision: Input should be a valid string"),
        (
            {"image": "all", "precision": "w8a8"},
            f"attention: precision: precision 'w8a8' must read a<bits>, .* {FORMATS}",
        ),
        ({"image": "all", "precision": "a16"}, "precision 'a16' must read a<bits>, from a2 to a15"),
        ({"image": "all", "precision": "a1"}, "precision 'a1' must read"),
        ({"image": "all", "probabilities": "log2"}, "probabilities: Input should be 'uniform' or 'log_sqrt2'"),
        ({"image": ["v"], "probabilities": "log_sqrt2"}, "log_sqrt2 is for probabilities, which are not named"),
        (
            {"image": "all", "probabilities": "log_sqrt2", "precision": "fp8"},
            "layers: attention: probabilities: log_sqrt2 takes plain bits, such as a8, not a format",
        ),
    ],
)
def test_a_wrong_word_is_refused_in_one_line(attention, told):
    with pytest.raises(ConfigError, match=told) as refused:
        entry(attention)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("attention", ["all", {"text": "all", "precision": "a8"}])
def test_a_precision_of_weights_alone_is_refused(attention):
    with pytest.raises(ConfigError, match="layers: attention: w4a16 leaves activations in floating point"):
        entry(attention, "w4a16")


def test_a_scope_of_which_no_tower_is_named_is_refused():
    scheme = {"quantizer": "rtn", "layers": {"attention": {"text": ["v"]}}}
    told = "layers: attention: names the text tower alone, which scope image does not quantize"
    assert [p.startswith(told) for p in entry_problems("schemes", scheme, {"scopes": ["image", "both"]})] == [True]
    assert [p.startswith(told) for p in entry_problems("schemes", scheme, {})] == [
        True
    ]  # image is what studies begin with
    assert list(entry_problems("schemes", {**scheme, "scopes": ["both"]}, {})) == []


def test_a_study_refuses_weights_alone_before_any_job():
    scheme = {"quantizer": "rtn", "layers": {"attention": "all"}}
    (told,) = entry_problems("schemes", scheme, {"precisions": ["w8a8", "w4a16"]})
    assert told.endswith("leave attention out, or give the scheme `precisions` without w4a16")


def test_an_unknown_word_of_layers_is_told_with_those_that_there_are():
    with pytest.raises(ConfigError, match="layers: keeps: unknown word; there are keep, other, also, attention, got"):
        scheme_entry({"quantizer": "rtn", "layers": {"keeps": []}}, "w8a8")
