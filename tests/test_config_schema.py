"""The JSON Schema of configs is what its tool gives, and refuses the keys that `read_study` refuses."""

import copy
from pathlib import Path

import jsonschema
import pytest
import yaml

from reliquant import plugins
from reliquant.study.check import read_study

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = [*sorted((ROOT / "config").glob("*.yaml")), ROOT / ".test/config/config.yaml", ROOT / "tests/chaos/tiny.yaml"]
SMALL = yaml.safe_load((ROOT / ".test/config/config.yaml").read_text())


@pytest.fixture(scope="module")
def tool(imported_tool):
    return imported_tool("config_schema")


@pytest.fixture(scope="module")
def schema(tool):
    made = yaml.safe_load(tool.SCHEMA.read_text())
    jsonschema.Draft7Validator.check_schema(made)
    return jsonschema.Draft7Validator(made)


def test_the_file_is_what_the_tool_gives(tool):
    assert tool.SCHEMA.read_text() == tool.text(), "python tools/config_schema.py writes it"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_config_names_the_schema_and_keeps_to_it(path, schema, tool):
    first = path.read_text().splitlines()[0]
    named = first.removeprefix("# yaml-language-server: $schema=")
    assert (path.parent / named).resolve() == tool.SCHEMA
    assert [error.message for error in schema.iter_errors(yaml.safe_load(path.read_text()))] == []


def mappings(value, path=()):
    """Yield the paths to all mappings inside a config."""
    if isinstance(value, dict):
        yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from mappings(inner, (*path, key))


def changed(config, path, key, value):
    copied = copy.deepcopy(config)
    place = copied
    for part in path:
        place = place[part]
    place[key] = value
    return copied


def refused(config):
    try:
        read_study(config)
    except plugins.ConfigError:
        return True
    return False


@pytest.mark.parametrize("name", [".test/config/config.yaml", "config/few-bits.yaml", "config/weight-only.yaml"])
def test_a_key_too_many_is_refused_wherever_the_check_refuses_it(name, schema):
    config = yaml.safe_load((ROOT / name).read_text())
    places = list(mappings(config))
    assert len(places) > 20
    for path in places:
        wrong = changed(config, path, "wrnog", 1)
        assert schema.is_valid(wrong) != refused(wrong), path


def test_every_word_of_every_plugin_is_known_and_no_other(schema):
    for section, family in (
        ("models", "tower"),
        ("schemes", "quantizer"),
        ("datasets", "dataset"),
        ("scores", "score"),
    ):
        for plugin in plugins.names(family):
            words = plugins.words(plugins.source(family, plugin), family)
            entry = {family: plugin}
            for word, (_, default) in words.items():
                if word not in ("weight", "activation") and default is not ...:
                    entry[word] = default
            lacks = [
                word for word, (_, default) in words.items() if default is ... and word not in ("weight", "activation")
            ]
            errors = list(schema.iter_errors(changed(SMALL, (section,), "x", entry)))
            assert sorted(error.message.split("'")[1] for error in errors) == sorted(lacks), (plugin, errors)
            errors = list(schema.iter_errors(changed(SMALL, (section,), "x", entry | {"wrnog": 1})))
            assert any("'wrnog' was unexpected" in error.message for error in errors), plugin


@pytest.mark.parametrize(
    ("path", "key", "value", "right"),
    [
        ((), "resamples", 99, False),
        ((), "device", "cuda:1", True),
        ((), "precisions", ["w4a8", "w4afp8", "mxfp4", "wnvfp4a16"], True),
        ((), "precisions", ["w1a8"], False),
        ((), "study", "Mine", False),
        (("models",), "Big", SMALL["models"]["vit"], False),
        (("models", "vit"), "form", "224-shortest-bicubic", True),
        (("models", "vit"), "form", "224-nearest-bicubic", False),
        (("models", "vit", "pretrain"), "epochs", 3, False),
        (("schemes",), "fp32", {"quantizer": "none"}, False),
        (("schemes",), "own", {"quantizer": "my_package.mine", "anything": 1}, True),
        (("schemes",), "own", {"quantizer": "gtpq"}, False),
        (("schemes", "rtn"), "weight", {"granularity": "group", "group": 32}, True),
        (("schemes", "rtn"), "weight", {"granularity": "token"}, False),
        (("schemes", "rtn"), "weight", {"bits": 4}, False),
        (("schemes", "rtn"), "layers", {"attention": "all"}, True),
        (("schemes", "rtn"), "layers", {"attention": {"image": "all", "text": ["q"]}}, True),
        (("schemes", "rtn"), "layers", {"attention": {"image": ["x"]}}, False),
        (("schemes", "lsq"), "losses", [{"loss": "contrastive"}], True),
        (("schemes", "lsq"), "losses", [{"loss": "contrastif"}], False),
        (("suites", "noise", "shapes"), "corruptions", ["gaussian_nose"], False),
        (("suites", "retrieval", "indexes"), "top", {"index": "int8_vector", "over": 3}, False),
    ],
)
def test_a_value_that_is_refused_is_refused_by_the_check_too(path, key, value, right, schema):
    given = changed(SMALL, path, key, value)
    assert schema.is_valid(given) == right
    if not right:
        assert refused(given)


def test_an_editor_is_told_what_keys_and_plugins_mean(schema):
    made = schema.schema
    keys = made["properties"]
    assert keys["unreadable"]["description"].startswith("an unreadable image: `stop`, or `skip`")
    assert made["$defs"]["Explain"]["properties"]["waves"]["description"].startswith("steps from 0 to Nyquist")
    plain = [key for key, said in keys.items() if "description" not in said]
    assert plain == ["suites", "explain", "sensitivity", "deploy"]  # whose parts have rows of their own
    assert all(made["$defs"][key.title()]["description"] for key in plain)
    chosen = made["$defs"]["entry.quantizer"]["properties"]["quantizer"]["anyOf"]
    assert all(each["description"] for each in chosen)
    assert {each.get("const") for each in chosen} - {None} == set(plugins.names("quantizer"))
