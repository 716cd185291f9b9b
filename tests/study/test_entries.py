import pytest

from reliquant.study.entries import entry_problems, precision_problems

GIVEN = {"proxies": {"captions": {"of": "x"}}}


def test_a_right_entry_has_no_problems():
    scheme = {"quantizer": "lsq", "iterations": 50, "snapshots": {"w4a8": [0], "w8a8-both": [50]}, "scopes": ["both"]}
    assert list(entry_problems("schemes", scheme, GIVEN)) == []
    model = {"tower": "small", "architecture": "lab_vit", "source": "web", "form": "32-squash-bilinear"}
    assert list(entry_problems("models", model, GIVEN)) == []


def test_every_problem_of_a_scheme_is_told():
    scheme = {
        "quantizer": "lsq",
        "iterations": 50,
        "family": 7,
        "scopes": ["text"],
        "proxies": ["words"],
        "precisions": ["w4a8", "w1a8"],
        "snapshots": {"w4a8-text": [10, 51, -1], "w99a8": [60]},
        "learning": True,
    }
    found = list(entry_problems("schemes", scheme, GIVEN))
    told = [
        "family: Input should be a valid string, got 7",
        "scopes 'text' is unknown; there are both, image",
        "proxies 'words' is unknown; there are captions",
        "precision 'w1a8': bits must be from 2 to 16, not 1",
        "snapshots: scope 'text' is unknown; there are both, image",
        "snapshots: precision 'w99a8': bits must be from 2 to 16, not 99",
        "snapshots: 51 is not within the 50 iterations",
        "snapshots: -1 is not within the 50 iterations",
        "snapshots: 60 is not within the 50 iterations",
    ]
    assert found[: len(told)] == told
    assert [problem.split(";")[0] for problem in found[len(told) :]] == ["learning: unknown word"]


def test_the_last_iteration_is_the_quantizers_own_where_the_scheme_names_none():
    told = list(entry_problems("schemes", {"quantizer": "lsq", "snapshots": [10**6]}, GIVEN))
    assert len(told) == 1
    assert told[0].startswith("snapshots: 1000000 is not within the ")


@pytest.mark.parametrize("form", ["224-shortest-bicubic", "native", "32-squash-bilinear", "8x9-longest-bicubic-fill0"])
def test_the_forms_of_prepared_images(form):
    assert list(entry_problems("models", {"tower": "small", "architecture": "a", "form": form}, GIVEN)) == []
    wrong = {"tower": "small", "architecture": "a", "form": f"{form}s"}
    (said,) = entry_problems("models", wrong, GIVEN)
    assert said.startswith("form: must read native, <size>-<shortest|squash>-<bicubic|bilinear> or <size>-longest-")
    assert said.endswith(f", got '{form}s'")


def test_a_model_is_pretrained_on_pairs_by_the_words_of_the_training():
    model = {"tower": "small", "architecture": "a", "pretrain": {"steps": 5, "step": 6}}
    missing, unknown = entry_problems("models", model, GIVEN)
    assert missing == "pretrain: pairs: missing; name a captioned dataset"
    assert unknown.startswith("pretrain: step: unknown word; pretrain takes steps, batch, lr")


def test_a_precision_says_bits_of_weights_and_activations():
    for word in ("w4a8", "w4a16", "nvfp4", "w4afp8", "wmxfp4a16"):
        assert list(precision_problems(word)) == []
    assert list(precision_problems("w16a16")) == ["precision 'w16a16' quantizes nothing; the fp32 scheme is built in"]
    (told,) = precision_problems("w4")
    assert told.startswith("precision 'w4' must read w<bits>a<bits>, like w4a8 (a16: floating point), with a format")
    assert told.endswith("mxfp4, nvfp4")
    assert list(precision_problems("wfp8afp8")) == ["precision 'wfp8afp8': say 'fp8' where both are that format"]


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"dataset": "image_folder", "templates": ["a {c}"]}, "templates: template 'a {c}' must hold {} once"),
        ({"dataset": "cifar10", "templates": []}, "templates: must be a list of at least one template"),
        ({"dataset": "image_folder", "classes": ["a_b", "a b"]}, "classes: classes 0 and 1 are both called 'a b'"),
        ({"dataset": "image_folder", "prompts": ["a", " "]}, "prompts: class 1 has an empty name"),
        ({"dataset": "imagenet", "prompts": ["a photo"]}, "prompts: template 'a photo' must hold {} once"),
    ],
)
def test_wrong_templates_and_class_names_of_a_dataset_are_told(entry, told):
    (problem,) = entry_problems("datasets", entry, GIVEN)
    assert problem.startswith(told)


@pytest.mark.parametrize(
    "entry",
    [
        {"dataset": "image_folder", "classes": False},
        {"dataset": "image_folder", "classes": ["a", "b"], "prompts": ["an a", "a b"], "templates": ["{}"]},
        {"dataset": "imagenet", "prompts": "openai"},
        {"dataset": "imagenet", "prompts": ["a photo of a {}"]},
        {"dataset": "csv", "files": ["a.csv"], "native": True, "folder": "x"},
    ],
)
def test_right_words_of_a_dataset_have_no_problems(entry):
    assert list(entry_problems("datasets", entry, GIVEN)) == []
