import pytest

from reliquant.plugins import ConfigError
from reliquant.study.mixed import methods_of, unpaired_measure
from reliquant.study.scheme import scheme_entry


@pytest.mark.parametrize(
    ("words", "precision", "told"),
    [
        ({"method": "awq"}, "w4a8", "method: awq: mixed tries layers one at a time, .*: gptq, hqq, mse, perc.*, rtn"),
        ({"method": "mixed"}, "w4a8", "method: mixed: mixed tries layers one at a time"),
        ({"method": "gtpq"}, "w4a8", "method: quantizer 'gtpq' is unknown .did you mean 'gptq'"),
        ({"words": {"dmp": 1}}, "w4a8", "words: dmp: unknown word; rtn takes"),
        ({"words": {"weight": {}}}, "w4a8", "words: weight: belong beside `method`"),
        ({"choices": []}, "w4a8", "choices: need bits or formats, each once"),
        ({"choices": [4, 4]}, "w4a8", "choices: need bits or formats, each once"),
        ({"choices": [1, 4]}, "w4a8", "choices: 1 is none of what there is: bits from 2 to 15"),
        ({"choices": [4, 16]}, "w4a8", "choices: 16 is none"),
        ({"choices": ["fp5", 4]}, "w4a8", "choices: 'fp5' is none"),
        ({"choices": ["mxfp4", 2], "method": "hqq"}, "w4a8", "choices: precision wmxfp4a16: hqq takes plain integers"),
        ({"method": "hqq"}, "mxfp4", "precision mxfp4: hqq takes plain integers"),
        (
            {"method": "hqq", "layers": {"other": {"last": "mxfp8"}}},
            "w4a8",
            "precision mxfp8: hqq takes plain integers",
        ),
        ({"choices": [4, 8]}, "w3a8", "choices: the least has 4 bits, more than the 3 of w3a8"),
        ({"budget": 1.5}, "w4a8", "budget: 1.5 stored bits a weight are fewer than the 2 of the least"),
        ({"budget": 4.1, "choices": ["mxfp4", "mxfp8"]}, "w4a8", "budget: 4.1 .* fewer than the 4.25 of the least"),
        ({"budget": 3, "budget_bytes": 9}, "w4a8", "budget, budget_bytes: say one of them"),
        ({"budget_bytes": 0}, "w4a8", "budget_bytes: must be above 0, got 0"),
        ({}, "w16a8", "precision w16a8: gives mixed no bits of weights to share out"),
        ({"measure": "speed"}, "w4a8", "measure: Input should be 'output_error'"),
    ],
)
def test_wrong_words_are_told_in_one_line_each(words, precision, told):
    with pytest.raises(ConfigError, match=f"scheme: {told}") as error:
        scheme_entry({"quantizer": "mixed", **words}, precision)
    assert len(error.value.problems) == 1


def test_right_words_are_taken():
    words = {"method": "gptq", "words": {"damp": 0.1}, "choices": [2, "nvfp4"], "budget": 4.6}
    assert scheme_entry({"quantizer": "mixed", **words}, "w8a8")["words"] == {"damp": 0.1}


def test_a_job_runs_the_method_that_mixed_names_too():
    assert methods_of({"quantizer": "mixed"}) == ["mixed", "rtn"]
    assert methods_of({"quantizer": "mixed", "method": "gptq"}) == ["mixed", "gptq"]
    assert methods_of({"quantizer": "awq", "method": "gptq"}) == ["awq"]


def test_measures_that_ask_which_caption_an_image_has_are_named():
    assert unpaired_measure({"quantizer": "mixed", "measure": "nll"}) == "nll"
    assert unpaired_measure({"quantizer": "mixed"}) == unpaired_measure({"quantizer": "rtn", "measure": "nll"}) == ""
