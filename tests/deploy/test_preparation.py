import dataclasses
import json

import pytest

from reliquant import plugins
from reliquant.deploy.preparation import preprocessing_facts, scale_facts, tokenizer_facts


@pytest.fixture(scope="module")
def lab():
    return plugins.load("tower", {"tower": "small", "architecture": "lab_vit"})(None)


def test_pixels_are_said_in_numbers_that_json_holds(lab):
    clip = dataclasses.replace(lab, size=(48, 32), resize="longest", interpolation="bilinear", fill=(1, 2, 3))
    facts = json.loads(json.dumps(preprocessing_facts(clip)))
    assert (facts["height"], facts["width"]) == (48, 32)
    assert (facts["resize"], facts["interpolation"], facts["fill"]) == ("longest", "bilinear", [1, 2, 3])
    assert facts["mean"] == list(lab.mean)
    assert facts["std"] == list(lab.std)


def test_a_tokenizer_is_said_with_captions_to_check_it_by(lab):
    facts = json.loads(json.dumps(tokenizer_facts(lab)))
    assert facts["context"] == len(next(iter(facts["check"].values())))
    for caption, tokens in facts["check"].items():
        assert lab.tokenizer([caption]).tolist() == [tokens]
    assert facts["words"] == list(lab.tokenizer.words)
    assert facts["class"] == "reliquant.models.tokenizer.WordTokenizer"
    assert facts["type"] == "int64"


def test_the_scale_is_the_multiplier_not_its_logarithm(lab):
    facts = scale_facts(lab)
    assert facts["logit_scale"] == pytest.approx(lab.model.logit_scale.exp().item())
    assert facts["logit_bias"] == 0
