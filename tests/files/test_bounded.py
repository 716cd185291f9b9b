"""What strangers' JSON and YAML may ask for is compared with limits before it is built."""

import ast
import json

import pytest
import yaml

from reliquant import plugins
from reliquant.cli.plan import run as plan
from reliquant.files import artifacts, bounded
from reliquant.files.bounded import TooMuch, load_yaml, parse_json, read_json, require_small
from reliquant.plugins import ConfigError
from reliquant.study.check import read_study

DOUBLED = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60))
MERGED = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 60))
BOMBS = {
    "aliases": DOUBLED,
    "merged mappings": MERGED,
    "a list in itself": "a: &a [*a]",
    "a mapping merged into itself": "a: &a {<<: *a}",
    "lists in lists": "a: " + "[" * 100_000,
    "mappings in mappings": "\n".join(" " * i + "a:" for i in range(300)),
    "a number to the base of 60": "a: 1" + ":1" * 400_000,
    "a number of many digits": "a: " + "9" * 9_000,
    "many keys": "a: [" + "b," * 200_000 + "]",
    "many letters": "a: '" + "b" * 2**21 + "'",
    "no such day": "a: 2026-13-45",
}


@pytest.mark.parametrize("name", BOMBS)
def test_yaml_that_asks_for_much_is_refused_at_once(name, at_most):
    with at_most(5), pytest.raises(yaml.YAMLError):
        load_yaml(BOMBS[name])


@pytest.mark.parametrize("name", BOMBS)
def test_a_config_that_asks_for_much_is_one_line(name, tmp_path, capsys):
    path = tmp_path / "bomb.yaml"
    path.write_text(BOMBS[name])
    with pytest.raises(SystemExit) as end:
        plan(config=path, model=None, scheme="rtn", precision="w8a8", scope="both")
    said = capsys.readouterr().err
    assert end.value.code == 2
    assert said.count("\n") == 1
    assert str(path) in said
    assert len(said) < 600


@pytest.mark.parametrize("text", ["{a: 1, b: [x, 2.5, null]}", "a: &a {x: 1}\nb: {<<: *a, y: 2}", "é: 2026-11-27", ""])
def test_other_yaml_is_what_pyyaml_makes_of_it(text):
    assert load_yaml(text) == yaml.safe_load(text)
    assert load_yaml(text.encode()) == yaml.safe_load(text)


def test_ten_thousand_class_names_are_a_config():
    assert (
        len(load_yaml(yaml.safe_dump({"classes": [f"class number {i}" for i in range(10_000)]}))["classes"]) == 10_000
    )


@pytest.mark.parametrize("text", [DOUBLED, "a: &a [*a]", "a: &a {b: *a}"])
def test_a_config_that_another_program_parsed_is_counted_too(text):
    given = yaml.safe_load(text)  # as Snakemake does
    with pytest.raises(TooMuch, match=r"repeated ones among them|levels of lists"):
        require_small(given)
    with pytest.raises(ConfigError, match=r"repeated ones among them|levels of lists"):
        read_study({"study": "x", "models": given})


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000, "9" * 10_000, "[1,", b"\xff\xfe", '"\ud800'])
def test_json_that_cannot_be_read_is_a_value_error_with_a_name(text):
    with pytest.raises(ValueError, match=r"^x.json: no JSON"):
        parse_json(text, "x.json:")


def test_a_long_json_file_is_not_read(tmp_path):
    path = tmp_path / "classes.json"
    with open(path, "wb") as file:
        file.truncate(2**40)
    with pytest.raises(TooMuch, match=r"classes.json: 1,099,511,627,776 bytes; at most 33,554,432 are read"):
        read_json(path)


def test_the_limits_grow_with_a_word(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    path.write_text(json.dumps(["a" * 90]))
    with pytest.raises(TooMuch):
        read_json(path, 50)
    monkeypatch.setenv(bounded.WORD, "2")
    assert read_json(path, 50) == ["a" * 90]


@pytest.mark.parametrize("word", ["0.5", "-1", "many", "inf", "nan"])
def test_a_word_that_is_no_factor_is_refused(word, monkeypatch):
    monkeypatch.setenv(bounded.WORD, word)
    with pytest.raises(ValueError, match=rf"{bounded.WORD}: must be a number of at least 1, got '{word}'"):
        bounded.limit(5)


@pytest.mark.skipif(not yaml.__with_libyaml__, reason="PyYAML without libyaml")
def test_limits_hold_without_libyaml(monkeypatch):
    monkeypatch.setattr(bounded, "_Loader", yaml.SafeLoader)
    for bomb in (DOUBLED, MERGED, "a: &a [*a]", "a: " + "[" * 100_000):
        with pytest.raises(yaml.YAMLError):
            load_yaml(bomb)


READERS = {
    "bounded.py",
    "artifacts.py",
    "digests.py",
    "placed.py",  # its own notes
    "server.py",  # what a client of the same user says over a socket: no file
}
PARSERS = {"json.load", "json.loads", "yaml.load", "yaml.safe_load", "yaml.load_all", "yaml.safe_load_all"}
ROUND = "json.loads(json.dumps("  # what JSON makes of a value: no file


def test_nothing_else_parses_json_or_yaml():
    found = set()
    for path in plugins.PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in PARSERS:
                if not ast.unparse(node).startswith(ROUND):
                    found.add(path.name)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                assert "tomllib" not in ast.unparse(node), path
    assert found == READERS


def test_a_json_file_of_gigabytes_is_not_read(tmp_path):
    with open(tmp_path / "meta.json", "wb") as file:
        file.truncate(2**31)
    with pytest.raises(TooMuch, match=r"meta\.json: 2,147,483,648 bytes; at most 1,073,741,824 are read"):
        artifacts.read_json(tmp_path / "meta.json")
