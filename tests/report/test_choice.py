import polars as pl
import pytest

from reliquant.report.choice import names, near, partners, variants
from reliquant.report.synthetic import Shape, rows

FRAME = rows(Shape(models=(("vit", "wit"),), seeds=(0, 1), corruptions=(), iterations=(0, 5), ranks=()))
LINE = {"model": "vit", "source": "wit", "scheme": "rtn", "family": "PTQ", "precision": "w8a8", "scope": "image"}
LINE |= {"proxy": "captions", "seed": 0}


def table(*lines):
    return pl.DataFrame([{**LINE, **line} for line in lines])


def test_all_finished_quantized_variants_are_meant_where_no_word_is_given():
    found = variants(FRAME, {}, [])
    assert found.height == 3 * 3 * 2 * 2
    assert "fp32" not in set(found["scheme"])


def test_words_and_columns_narrow_the_choice():
    assert names(variants(FRAME, {"seed": ["1"], "precision": ["w8a8"]}, ["rtn", "image"])) == ["vit rtn w8a8 image"]
    assert variants(FRAME, {"scheme": ["rtn", "lsq"]}, ["w4a8"]).height == 2 * 2 * 2


def test_fp32_is_meant_where_it_is_named_and_where_there_is_nothing_else():
    assert set(variants(FRAME, {}, ["fp32"])["scheme"]) == {"fp32"}
    assert set(variants(FRAME.filter(pl.col("scheme") == "fp32"), {}, [])["scheme"]) == {"fp32"}


@pytest.mark.parametrize(
    ("chosen", "words", "message"),
    [
        ({"scheme": ["rnt"]}, [], r"--scheme rnt: no variant has this word; did you mean rtn\?"),
        ({}, ["w8a9"], r"--variant w8a9: no variant has this word; did you mean w8a8"),
        ({"scheme": ["fp32"]}, ["w8a8"], "no variant has all of these words"),
        ({"model": ["qqq"]}, [], "--model qqq: no variant has this word; there are vit"),
    ],
)
def test_words_that_no_variant_has_are_refused_with_those_that_there_are(chosen, words, message):
    with pytest.raises(ValueError, match=message):
        variants(FRAME, chosen, words)


def test_a_partner_is_the_same_variant_then_the_same_but_for_its_runtime_then_the_only_one():
    own = table({"scheme": "rtn@onnxruntime"}, {"scheme": "lsq@onnxruntime"})
    same = table({"scheme": "lsq"}, {"scheme": "rtn"}, {"scheme": "rtn@onnxruntime"})
    assert partners(own, same)["scheme"].to_list() == ["rtn@onnxruntime", "lsq"]
    assert partners(own, table({"scheme": "new"}))["scheme"].to_list() == ["new", "new"]
    assert partners(table({}), table({"precision": "w4a8"}, {"source": "of another word"}))["precision"][0] == "w8a8"


def test_a_partner_that_cannot_be_told_is_refused_with_those_that_there_are():
    with pytest.raises(ValueError, match=r"vit rtn w8a8 image: has no partner of its own; name one .*: there are a, b"):
        partners(table({}), table({"scheme": "a"}, {"scheme": "b"}))
    with pytest.raises(ValueError, match="no partner"):  # two runtimes of the same
        partners(table({}), table({"scheme": "rtn@onnxruntime"}, {"scheme": "rtn@openvino"}))


def test_names_that_are_near_come_first():
    assert near("accuracy_chnge", ["accuracy_change", "nll"]) == "did you mean accuracy_change?"
    assert near("zzz", ["b", "a", "", "d", "c"]) == "there are a, b, c and 1 more"
