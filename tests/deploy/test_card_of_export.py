import pytest
import yaml

from reliquant.deploy.card_of_export import card_of_export
from reliquant.report.synthetic import Shape, rows

FACTS = {
    "name": "w8a8",
    "to": "onnx",
    "model_sha256": "a" * 64,
    "variant_sha256": "b" * 64,
    "entry": {"quantizer": "rtn"},
    "labels": {"model": "vit", "source": "wit", "scheme": "rtn", "precision": "w8a8", "scope": "image", "seed": 0},
    "versions": {"reliquant": "9.9"},
    "preprocessing": {
        "height": 48,
        "width": 32,
        "resize": "shortest",
        "interpolation": "bicubic",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
    },
    "tokenizer": {"class": "a.b_c", "context": 16},
    "towers": {
        "image": {"file": "image.onnx", "input": "pixels", "output": "embedding"},
        "text": {"file": "text.onnx", "input": "tokens", "output": "embedding"},
    },
    "logit_scale": 14.2857,
    "logit_bias": 0.0,
    "float_weights": {},
}


def front(text):
    return yaml.safe_load(text.split("---\n")[1])


@pytest.fixture
def frame():
    shape = Shape(models=(("vit", "wit"),), seeds=(0,), scopes=("image",), corruptions=(), iterations=(), ranks=())
    found = rows(shape)
    return found.filter((found["scheme"] == "fp32") | ((found["scheme"] == "rtn") & (found["precision"] == "w8a8")))


def test_a_card_without_rows_says_how_to_feed_it_and_that_nothing_was_measured():
    text = card_of_export(FACTS)
    assert front(text)["library_name"] == "onnx"
    assert front(text)["tags"][:2] == ["reliquant", "onnx"]
    assert "| `image.onnx` | `pixels` float32 (n, 3, 48, 32) | `embedding` float32 (n, d), length 1 |" in text
    assert "| `text.onnx` | `tokens` int64 (n, 16) |" in text
    assert "**Pixels**: RGB, resized to 48 x 32 (`shortest`, antialiased bicubic)" in text
    assert "**Logits**: 14.2857 x cosine + 0." in text
    assert "Nothing was measured of this model" in text
    assert "| variant (sha256) | bbbb" in text


def test_a_card_with_rows_has_figures_and_the_hubs_index(frame):
    text = card_of_export({**FACTS, "hub": {"base_model": "a/b", "license": "mit"}}, frame, {"assumed": ["so"]})
    told = front(text)
    assert (told["base_model"], told["license"], told["base_model_relation"]) == ("a/b", "mit", "quantized")
    assert told["model-index"][0]["results"]
    assert "## What was measured" in text
    assert "## What was not measured" in text
    assert "| assumed | so |" in text
    assert "## How to feed it" in text


def test_weights_in_float32_and_classes_are_told():
    text = card_of_export(
        {**FACTS, "float_weights": {"numbers of e2m1": ["a", "b"]}, "prompts": {"classes": ["x", "y", "z"]}}
    )
    assert "**Weights in float32** in 2 layers: numbers of e2m1." in text
    assert "one unit embedding for each of 3" in text


def test_words_of_strangers_stay_words():
    hostile = {**FACTS, "name": "x\n# y <script>", "tokenizer": {"class": "<b>|", "context": 16}}
    text = card_of_export(hostile)
    assert "<script>" not in text
    assert "\n# y" not in text
    assert "<b>|" not in text
