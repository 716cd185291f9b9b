import json

import pytest

from reliquant.download import published
from reliquant.study.form import Form
from reliquant.study.own_preprocessing import config_of, known_preprocessing
from reliquant.study.preprocessing import DEFAULT, WORDS, differences

FILE = "mine.pt"
DIFFER = {"ViT-L-14": {"mean", "std"}, "ViT-H-14": {"resize_mode"}, "ViT-H-14-quickgelu": {"resize_mode"}}


@pytest.mark.parametrize("architecture", published.architectures())
def test_a_file_is_preprocessed_as_all_tags_of_its_architecture_agree_or_is_told_not_to_be(architecture):
    config, notes = config_of(architecture, FILE, {})
    tags = list(published.tags(architecture).values())
    agreed = [word for word in WORDS[:-1] if tags and all(tag[word] == tags[0][word] for tag in tags)]
    assert all(config[word] == tags[0][word] for word in agreed)
    assert all(config[word] == DEFAULT[word] for word in WORDS[:-1] if word not in agreed)
    if len(agreed) == 4 and not differences(config, DEFAULT):
        assert notes == []
    else:
        (note,) = notes
        assert all((f"{word}: " in note) for word in WORDS[:-1] if word not in agreed)
    assert {word for word in WORDS[:-1] if tags and word not in agreed} == DIFFER.get(architecture, set())


def test_a_family_of_its_own_preprocessing_is_named():
    config, (note,) = config_of("MobileCLIP2-S0", FILE, {})
    assert (config["mean"], config["std"], config["interpolation"]) == ((0.0,) * 3, (1.0,) * 3, "bilinear")
    assert note.startswith(
        "preprocessed as its only tag dfndr2b published: mean: [0.0, 0.0, 0.0], std: [1.0, 1.0, 1.0]"
    )


def test_tags_that_differ_are_told_with_the_words_that_decide():
    _, (note,) = config_of("ViT-L-14", FILE, {})
    assert "because the published tags differ (laion2b_s32b_b82k: mean [0.5, 0.5, 0.5], not [0.48145466" in note
    assert note.endswith("its entry may say mean, std")
    assert config_of("ViT-L-14", FILE, {"mean": 0.5, "std": [0.5, 0.5, 0.5]})[1] == []  # as one of the tags


def test_words_win_and_a_difference_from_every_tag_is_told():
    config, (note,) = config_of("ViT-B-16-SigLIP", FILE, {"resize_mode": "longest", "mean": None})
    assert (config["resize_mode"], config["mean"]) == ("longest", (0.5, 0.5, 0.5))
    assert (
        note
        == "its preprocessing is that of no published tag; the nearest is webli, but resize_mode longest, not squash"
    )
    config, (note,) = config_of("ViT-B-16-SigLIP", "webli", {"resize_mode": "longest"})
    assert config["resize_mode"] == "longest"
    assert note == "the entry's own words are used, which differ from the tag webli: resize_mode longest, not squash"
    assert config_of("ViT-B-16-SigLIP", "webli", {"mean": 0.5})[1] == []  # the same, written otherwise


def test_a_folders_config_wins_over_the_family_and_what_it_lacks_is_told():
    own = {"mean": [0.1, 0.1, 0.1], "std": 0.2, "interpolation": "bilinear", "resize_mode": "squash"}
    assert config_of("local-dir:x", None, {}, own) == (own, [])
    config, (note,) = config_of("local-dir:x", None, {"std": 0.3}, {"mean": 0.1})
    assert config == {"mean": 0.1, "std": 0.3}
    assert note == "its config says no interpolation, resize_mode: open_clip's default is used"
    _, (note,) = config_of("local-dir:x", None, {"std": 0.3}, own)
    assert note == "the entry's own words are used, which differ from its config: std 0.3, not 0.2"


def test_the_form_of_a_model_is_known_before_its_weights(tmp_path):
    def form(**entry):
        found = known_preprocessing(entry)
        return found.form if found else None

    openclip = {"tower": "openclip"}
    assert form(**openclip, architecture="ViT-B-16-SigLIP-256", pretrained="webli") == Form(256, 256, "squash")
    assert form(**openclip, architecture="ViT-B-32", interpolation="bilinear") == Form(224, 224, "shortest", "bilinear")
    assert form(tower="small", architecture="cifar_vit") == Form(32, 32)
    assert form(**openclip, architecture="hf-hub:owner/name") is None
    assert form(tower="my.tower", architecture="ViT-B-32") is None
    config = {"model_cfg": {"vision_cfg": {"image_size": [24, 48]}}, "preprocess_cfg": {"resize_mode": "longest"}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    assert form(**openclip, architecture=f"local-dir:{tmp_path}") == Form(24, 48, "longest")
