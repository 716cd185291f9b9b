import json

import pytest
import yaml

from reliquant.deploy.prompts import read_prompts

GOOD = {"classes": ["cat", "dog"], "templates": ["a photo of a {}"]}


@pytest.mark.parametrize("write", [json.dumps, yaml.safe_dump])
def test_classes_and_templates_are_read_from_json_and_yaml(tmp_path, write):
    (tmp_path / "classes").write_text(write({**GOOD, "more": 1}))
    assert read_prompts(tmp_path / "classes") == GOOD


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[cat, dog]", "must hold `classes` and `templates`"),
        ("classes: [cat]", "must hold `classes` and `templates`"),
        ("{classes: [cat, dog], templates: [a photo]}", "templates: "),
        ("{classes: [], templates: ['{}']}", "classes: "),
        ("{classes: [cat, 3], templates: ['{}']}", "classes: "),
        ("{classes: cat, templates: ['{}']}", "classes: "),
        ("{classes: [a", "is no YAML ("),
    ],
)
def test_what_holds_none_is_refused_with_the_file(tmp_path, text, told):
    (tmp_path / "classes.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"classes\.yaml: ") as refusal:
        read_prompts(tmp_path / "classes.yaml")
    assert told in str(refusal.value)


def test_a_file_that_is_missing_and_a_folder_that_is_not_prepared_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_prompts(tmp_path / "nowhere.yaml")
    with pytest.raises(FileNotFoundError, match=r"meta\.json"):
        read_prompts(tmp_path)
