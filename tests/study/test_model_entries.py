import pytest

from reliquant.download import published
from reliquant.plugins import ConfigError
from reliquant.study.check import read_study
from reliquant.study.model_entries import known_form, names_weights, openclip_problem, tower_problems

PAIRS = [(name, tag) for name in published.architectures() for tag in published.tags(name)]


@pytest.mark.parametrize(("architecture", "tag"), PAIRS)
def test_a_published_pair_is_accepted_or_another_one_is_named_that_is_published(architecture, tag):
    told = openclip_problem(architecture, tag)
    if told is None:
        return
    other, _, same = told.rpartition(": name ")[2].partition("/")
    assert same == tag
    assert (other, tag) in PAIRS
    assert openclip_problem(other, tag) is None
    own, theirs = (published.description(name).get("quick_gelu", False) for name in (architecture, other))
    assert own != theirs == published.tag(architecture, tag).get("quick_gelu", False)


def test_the_only_tag_of_an_architecture_is_accepted():
    assert openclip_problem("roberta-ViT-B-32", "laion2b_s12b_b32k") is None


@pytest.mark.parametrize(
    ("architecture", "pretrained", "said"),
    [
        ("ViT-B-31", None, r"architecture 'ViT-B-31' is unknown to open_clip (did you mean 'ViT-B-32'?); there are "),
        (
            "ViT-B-32",
            "openai",
            "trained with the activation of 'ViT-B-32-quickgelu': name ViT-B-32-quickgelu/openai",
        ),
        (
            "ViT-B-32",
            "openaj",
            "neither a tag of open_clip nor a file; tag 'openaj' is unknown (did you mean 'openai'?)",
        ),
        ("ViT-B-32-quickgelu", "laion2b_e16", "nor a file; ViT-B-32/laion2b_e16 is published"),
        ("ViT-S-32-alt", "openai", "nor a file; it has no tag"),
        ("hf-hub:a/b", "openai", "pretrained 'openai': hf-hub: brings its own weights; leave the word out"),
        ("hub:a/b", None, "must be a name of open_clip, or begin with hf-hub: or local-dir:"),
    ],
)
def test_what_open_clip_does_not_have_is_named_with_what_it_has(architecture, pretrained, said):
    assert said in openclip_problem(architecture, pretrained)


def test_a_folder_is_told_how_to_be_named(tmp_path):
    assert openclip_problem(str(tmp_path), None).endswith(f"is a folder: write local-dir:{tmp_path}")


@pytest.mark.parametrize("pretrained", [None, "random", "mine.pt", "some/where", "laion2B-s34B-b79K"])
def test_a_tag_a_file_and_random_weights_are_no_problem(pretrained):
    assert list(tower_problems({"tower": "openclip", "architecture": "ViT-B-32", "pretrained": pretrained})) == []


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        ({"tower": "openclip", "architecture": "ViT-B-32"}, False),
        ({"tower": "openclip", "architecture": "ViT-B-32", "pretrained": None}, False),
        ({"tower": "openclip", "architecture": "ViT-B-32", "pretrained": "random"}, True),
        ({"tower": "openclip", "architecture": "hf-hub:a/b"}, True),
        ({"tower": "openclip", "architecture": "local-dir:a"}, True),
        ({"tower": "small", "architecture": "lab_vit"}, False),
        ({"tower": "small", "architecture": "lab_vit", "pretrained": "lab-vit-web"}, True),
        ({"tower": "huggingface", "architecture": "a/b"}, True),  # it takes no such word: it brings its weights
    ],
)
def test_an_entry_names_its_weights_or_does_not(entry, named):
    assert names_weights(entry) == named


def config(**model):
    return {
        "study": "s",
        "title": "t",
        "models": {"m": {"tower": "openclip", "architecture": "ViT-B-32", "pretrained": "laion2b_e16", **model}},
        "datasets": {"d": {"dataset": "cifar10"}},
        "suites": {"clean": ["d"]},
    }


def told(**model):
    with pytest.raises(ConfigError) as refusal:
        read_study(config(**model))
    (problem,) = refusal.value.problems
    return problem


def test_a_study_is_told_what_is_wrong_with_a_model_before_any_job():
    assert told(pretrained=None).startswith("model m: no weights: `pretrained` must name a tag")
    assert told(architecture="ViT-B-33").startswith("model m: architecture 'ViT-B-33' is unknown to open_clip")
    assert told(interpolation="nearest").startswith("model m: architecture 'ViT-B-32': interpolation: must be bicubic")
    assert told(tower="small", architecture="lab_vot", pretrained="random").startswith(
        "model m: architecture 'lab_vot' is"
    )


def test_a_form_that_is_not_the_models_is_told_and_one_left_out_is_the_models():
    said = "is not what the model wants: write `form: 224-shortest-bicubic`, or leave it out"
    assert told(form="224-squash-bicubic") == f"model m: form: 224-squash-bicubic {said}"
    big = {"architecture": "ViT-L-14-336-quickgelu", "pretrained": "openai"}
    assert read_study(config(**big)).prepared("d", "m") == "data/prepared/d/336-shortest-bicubic"
    assert read_study(config(**big, form="336-shortest-bicubic")).form("m") == "336-shortest-bicubic"
    hub = {"architecture": "hf-hub:a/b", "pretrained": None}  # nobody knows before it is fetched
    assert read_study(config(**hub)).form("m") == "224-shortest-bicubic"
    assert read_study(config(**hub, form="64-squash-bicubic")).form("m") == "64-squash-bicubic"


def test_a_model_that_is_pretrained_here_needs_no_weights():
    recipe = {"pairs": "d", "steps": 1}
    model = {"tower": "small", "architecture": "lab_vit", "pretrained": None, "pretrain": recipe}
    del (given := config(**model))["models"]["m"]["pretrained"]
    assert read_study(given).trains("m")


def test_what_cannot_be_read_has_no_known_form(tmp_path):
    (tmp_path / "open_clip_config.json").write_text("[1]")
    assert known_form({"tower": "openclip", "architecture": f"local-dir:{tmp_path}"}) is None
    assert known_form({"tower": "openclip", "architecture": "ViT-B-32", "mean": "x"}) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "no JSON: "), ("[1]", "describes no model: it needs embed_dim"), ('{"embed_dim": 3}', "describes no model")],
)
def test_a_description_that_is_none_is_named(tmp_path, text, said):
    path = tmp_path / "mine.json"
    path.write_text(text)
    entry = {"tower": "small", "architecture": str(path), "pretrained": "random"}
    (problem,) = tower_problems(entry)
    assert problem.startswith(f"{path}: {said}")
    assert known_form(entry) is None


@pytest.mark.parametrize("name", ["a" * 300, "a\0b", "", " ", "local-dir:" + "b" * 300, "c" * 300 + ".json"])
@pytest.mark.parametrize("tower", ["openclip", "small"])
def test_names_that_no_file_can_have_are_unknown_names(tower, name):
    for pretrained in (None, "random", name):
        entry = {"tower": tower, "architecture": name, "pretrained": pretrained}
        assert all("\n" not in problem for problem in tower_problems(entry))
        assert known_form(entry) is None
    assert list(tower_problems({"tower": "openclip", "architecture": "ViT-B-32", "pretrained": "d" * 300}))
