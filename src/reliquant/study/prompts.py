"""Prompts and the names of classes in them: what is wrong with them, told alike wherever they come from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def template_problems(templates: object, /) -> Iterator[str]:
    """Say what is wrong with a list of templates: each holds {} once, for the name of a class, and no other brace.

    >>> list(template_problems(["a photo of a {}", "a {c}"]))
    ["template 'a {c}' must hold {} once, where the class name goes, and no other brace"]
    """
    if not isinstance(templates, Sequence) or isinstance(templates, str) or not templates:
        yield f"must be a list of at least one template such as 'a photo of a {{}}', got {templates!r}"
        return
    for template in templates:
        braces = [letter for letter in str(template) if letter in "{}"]
        if not isinstance(template, str) or "{}" not in template or len(braces) != 2:
            yield f"template {template!r} must hold {{}} once, where the class name goes, and no other brace"


def class_problems(classes: object, /) -> Iterator[str]:
    """Say what is wrong with a list of class names: each is a text that says something, and no two are the same.

    Names that differ only in spaces, or in underscores for spaces, are the same.

    >>> list(class_problems(["guinea pig", "ant", "guinea_pig"]))
    ["classes 0 and 2 are both called 'guinea pig'"]
    """
    if not isinstance(classes, Sequence) or isinstance(classes, str):
        yield f"must be a list of names, got {classes!r}"
        return
    places: dict[str, int] = {}
    for place, name in enumerate(classes):
        if not isinstance(name, str):
            yield f"class {place} is called {name!r}, which is no text: write it in quotes"
        elif not (cleaned := cleaned_name(name)):
            yield f"class {place} has an empty name"
        elif cleaned in places:
            yield f"classes {places[cleaned]} and {place} are both called {cleaned!r}"
        else:
            places[cleaned] = place


def cleaned_name(name: str, /) -> str:
    """Return the name of a class, or of its folder, as captions write it: single spaces, none at the ends.

    >>> cleaned_name("guinea_pig ")
    'guinea pig'
    """
    return " ".join(name.replace("_", " ").split())
