import pytest

from reliquant.study.prompts import class_problems, cleaned_name, template_problems


def test_right_templates_and_names_have_no_problems():
    assert list(template_problems(["a photo of a {}.", "{}"])) == []
    assert list(class_problems(["cat", "Cat", "guinea pig"])) == []


@pytest.mark.parametrize(
    "template",
    ["a photo", "a {c}", "a {} and {}", "a {} {c}", "a {0}", "a {:>5}", "a {{}}", "a {} {{", "a {}}", "{", 5],
)
def test_a_template_with_any_other_brace_is_told(template):
    assert list(template_problems(["a {}", template])) == [
        f"template {template!r} must hold {{}} once, where the class name goes, and no other brace"
    ]


@pytest.mark.parametrize("templates", [[], "a photo of a {}", None, 5])
def test_what_is_no_list_of_templates_is_told(templates):
    (problem,) = template_problems(templates)
    assert problem == f"must be a list of at least one template such as 'a photo of a {{}}', got {templates!r}"


@pytest.mark.parametrize(
    ("classes", "problem"),
    [
        (["cat", " "], "class 1 has an empty name"),
        (["_"], "class 0 has an empty name"),
        (["cat", True], "class 1 is called True, which is no text: write it in quotes"),
        (["a b", "c", "a_b"], "classes 0 and 2 are both called 'a b'"),
        (["a b", "a  b "], "classes 0 and 1 are both called 'a b'"),
        ("cats", "must be a list of names, got 'cats'"),
    ],
)
def test_a_name_that_no_prompt_can_tell_is_told(classes, problem):
    assert list(class_problems(classes)) == [problem]


def test_names_are_cleaned_as_captions_write_them():
    assert cleaned_name("  guinea__pig\t") == "guinea pig"
