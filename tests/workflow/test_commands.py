"""What a config says reaches the shell as quoted words, or not at all: every rule's command, with hostile words.

The keys come from the schema of a config, so a new one is tried without a line here.
"""

import copy
import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from forked_programs import OF_SNAKEMAKE, programs
from pydantic import TypeAdapter

from reliquant import plugins
from reliquant.plugins import ConfigError
from reliquant.study.check import read_study
from reliquant.study.config import FAMILY_OF, STUDY_KEYS, Config

HERE = Path(__file__).parent
RULES = sorted((HERE.parents[1] / "workflow" / "rules").glob("*.smk"))
HOSTILE = [
    "cpu; touch owned; true",
    "$(touch owned)`touch owned`",
    "x' ; touch owned ; '",
    'x" && touch owned | tee owned > owned2 & #',
    "x\ntouch owned\n",
    "* ? [a-z] ~ !! $IFS \\",
    "--output=owned",
    "../../../outside",
    "/outside",
    "lab\n",
    "x\0y",
    "{wildcards.model}{{x}} {0}",
    "\u202eexe.gpj\u2044\uff0f\uff0e\uff0e",
    "y" * 5000,
]
REFUSED_FROM = 500  # at least so many of the refusals: else the schema is not walked
BARE = re.compile(r"[\w@%+=:,./ -]*", re.ASCII)  # what may stand outside quotes


def wide():
    """The tiny study with what brings in the other rules and the optional keys: downloads, a tag, more datasets."""
    config = yaml.safe_load((HERE.parents[1] / ".test" / "config" / "config.yaml").read_text())
    config["models"]["b32"] = {"tower": "openclip", "architecture": "ViT-B-32", "pretrained": "laion2b_s34b_b79k"}
    config["datasets"] |= {
        "cifar": {"dataset": "cifar10", "split": "test"},
        "hub": {"dataset": "huggingface", "repo": "a/b", "revision": "0" * 40, "files": ["x.parquet"]},
        "table": {"dataset": "csv"},
        "tree": {"dataset": "image_folder"},
        "tars": {"dataset": "webdataset"},
    }
    config["suites"]["clean"] += ["cifar", "hub", "table", "tree", "tars"]
    config["negatives"] = {"lexicon": "wordnet", "words": 100}
    config["snapshot_suites"] = ["clean"]
    config["deploy"]["time"] = {"batch": 4, "rounds": 2}
    config["from_scratch"] = True  # or the word `pretrained` would turn a training into a download
    return config


def resolved(schema, root):
    """The alternatives of a schema, without references."""
    if "$ref" in schema:
        return resolved(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if "anyOf" in schema:
        return [each for option in schema["anyOf"] for each in resolved(option, root)]
    return [schema]


def texts(schema, root, value, path):
    """List where a config may hold text by its schema: (path, "value" or "key")."""
    found = []
    for each in resolved(schema, root):
        kind = each.get("type")
        if kind == "string" and not {"enum", "const"} & each.keys():
            found.append((path, "value"))
        elif kind == "array":
            inner = value[0] if isinstance(value, list) and value else None
            found += texts(each["items"], root, inner, (*path, 0))
        elif kind == "object":
            for key, inner in each.get("properties", {}).items():
                found += texts(inner, root, value.get(key) if isinstance(value, dict) else None, (*path, key))
            more = each.get("additionalProperties")
            names = [key for key in value or {} if key not in each.get("properties", {})]
            if more:
                found.append((path, "key"))
            for name in names if isinstance(more, dict) else ():
                found += texts(more, root, value[name], (*path, name))
    return found


def in_entries(config):
    """List where the entries of a config may hold text: the keys that the study reads, and the words of plugins."""
    found = []
    entries = [(section, (section, name), entry) for section in FAMILY_OF for name, entry in config[section].items()]
    entries.append(("negatives", ("negatives",), config["negatives"]))
    seen = set()
    for section, path, entry in entries:
        family = FAMILY_OF.get(section, "lexicon")
        if (section, entry[family]) in seen:
            continue
        seen.add((section, entry[family]))
        for key, annotation in STUDY_KEYS[section].items():
            schema = TypeAdapter(annotation).json_schema()
            found += texts(schema, schema, entry.get(key), (*path, key))
        found.append(((*path, family), "value"))
        for word, (annotation, _) in plugins.words(plugins.source(family, entry[family]), family).items():
            if "str" in annotation:
                found.append(((*path, word, 0) if annotation.startswith("list") else (*path, word), "value"))
        for key in entry.get("pretrain", ()):
            found.append(((*path, "pretrain", key), "value"))
    return found


def places(config):
    schema = Config.model_json_schema()
    return list(dict.fromkeys([*texts(schema, schema, config, ()), *in_entries(config)]))


def renamed(value, old, new):
    if isinstance(value, dict):
        return {renamed(key, old, new): renamed(inner, old, new) for key, inner in value.items()}
    if isinstance(value, list):
        return [renamed(inner, old, new) for inner in value]
    return new if value == old else value


def put(config, place, word):
    """Put a word into a copy of a config, as a value, or as the name of an entry wherever that is named."""
    path, kind = place
    config = copy.deepcopy(config)
    holder = config
    for step, after in zip(path, [*path[1:], None if kind == "value" else ""], strict=True):
        if after is None:
            break
        if isinstance(holder, list):
            holder = holder[step]
            continue
        if not isinstance(holder.get(step), dict | list):
            holder[step] = [None] if after == 0 else {}
        holder = holder[step]
    if kind == "key":
        name = next(iter(holder), None)
        if name is None or path == ():
            holder[word] = {}
            return config
        return renamed(config, name, word)
    if isinstance(holder, list) and not holder:
        holder.append(None)
    holder[path[-1]] = word
    return config


def problems(config):
    try:
        read_study(config)
    except ConfigError as error:
        return error.problems
    return []


def is_named(line, path):
    """Whether a line names a key: some part of its path, or the section by the name of one of its entries."""
    words = {str(part) for part in path if part != 0} | {str(part).rstrip("s") for part in path[:1]}
    return any(word in line for word in words) or not path


@pytest.fixture(scope="module")
def tried():
    """Every word at every place: the places where it is accepted, by word, and the refusals."""
    config = wide()
    assert problems(config) == []
    accepted, refused = {word: [] for word in HOSTILE}, []
    for place in places(config):
        for word in HOSTILE:
            found = problems(put(config, place, word))
            if found:
                refused.append((place, word, found))
            else:
                accepted[word].append(place)
    return accepted, refused


def with_all(config, places, word):
    """Put a word at all the places where it may stand, but for those that are wrong beside the others."""
    together = config
    for place in places:
        together = put(together, place, word)
    if not problems(together):
        return together
    for place in places:
        changed = put(config, place, word)
        config = config if problems(changed) else changed
    return config


@pytest.fixture(scope="module")
def commands(tried, tmp_path_factory):
    """Ask Snakemake for the commands of the plain config (None), and with each hostile word: (rule, command, log).

    They are named by the files that they make.
    """
    folder = tmp_path_factory.mktemp("commands")
    configs = {None: wide()} | {word: with_all(wide(), tried[0][word], word) for word in HOSTILE}
    files = [folder / f"{number}.json" for number in range(len(configs))]
    for file, (word, config) in zip(files, configs.items(), strict=True):
        assert word is None or config["title"] == word
        file.write_text(json.dumps(config))
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    done = programs(*OF_SNAKEMAKE).run("commands", folder, *files, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    found = {}
    for word, line in zip(configs, done.stdout.splitlines()[-len(configs) :], strict=True):
        found[word] = {tuple(outputs): (rule, command, log) for rule, command, log, outputs in json.loads(line)}
    return found


def run_by_bash(commands, folder):
    """Let bash run commands with a `python` that only writes down its arguments; return them, a list a command."""
    script = ["python() { printf '%s\\0' \"$@\" $'\\1' >> arguments; }"]
    for _, command, log in commands:
        (folder / log).parent.mkdir(parents=True, exist_ok=True)
        script.append(command)
    subprocess.run(["bash"], input="\n".join(script).encode(), cwd=folder, check=True, capture_output=True)
    lists = (folder / "arguments").read_text().split("\1\0")
    return [arguments.split("\0")[:-1] for arguments in lists[:-1]]


def test_what_is_refused_is_told_in_one_line_that_names_the_key(tried):
    _, refused = tried
    assert len(refused) > REFUSED_FROM
    for (path, kind), word, found in refused:
        assert not [line for line in found if re.search(r"[\x00-\x1f\u202e]", line)], (path, kind, word, found)
        assert any(is_named(line, path) for line in found), (path, kind, word, found)


def test_no_name_and_no_device_is_hostile(tried):
    accepted, _ = tried
    for word, found in accepted.items():
        for path, kind in found:
            assert kind == "value", (path, word)
            assert path not in (("device",), ("study",)), word
            fetched = path[:2] in (("datasets", "cifar"), ("datasets", "hub")) or path[0] == "negatives"
            assert not (fetched and path[-1] == "folder"), word


def test_every_rule_is_tried(commands):
    rules = set()
    for path in RULES:
        rules |= set(re.findall(r"^(?:rule|use rule \w+ as) (\w+)", path.read_text(), re.M))
    assert {rule for rule, _, _ in commands[None].values()} == rules


@pytest.mark.parametrize("word", HOSTILE, ids=lambda word: ascii(word[:24]))
def test_no_word_of_a_config_is_more_than_a_word_of_a_command(word, commands, tmp_path):
    found, plain = commands[word], commands[None]
    assert found.keys() <= plain.keys()
    assert len(found) > 50
    split = {outputs: shlex.split(command) for outputs, (_, command, _) in found.items()}
    for outputs, (rule, command, log) in found.items():
        outside = re.sub(r"'[^']*'|\"'\"", "", command)
        body, redirect, target = outside.rpartition(" 2> ")
        assert redirect, command
        assert BARE.fullmatch(body + target), (rule, command)
        expected = shlex.split(plain[outputs][1])
        words = split[outputs]
        assert words[-2:] == ["2>", log]
        assert len(words) == len(expected), (rule, command)
        for mine, theirs in zip(words, expected, strict=True):
            assert mine == theirs or word in mine or word in strings(json.loads(mine)), (rule, mine, theirs)
            assert not theirs.startswith("--") or mine == theirs
    run = run_by_bash(list(found.values()), tmp_path)
    assert run == [split[outputs][1:-2] for outputs in found]
    there = {path.relative_to(tmp_path).parts[0] for path in tmp_path.iterdir()}
    assert there == {"arguments", "logs"}


def strings(value):
    """All texts in a JSON value, joined."""
    if isinstance(value, dict):
        return "\n".join([*map(str, value), *map(strings, value.values())])
    return "\n".join(map(strings, value)) if isinstance(value, list) else str(value)


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_every_placeholder_of_a_command_is_quoted(path):
    for shell in re.findall(r"^    shell:\n((?:        .*\n)+)", path.read_text(), re.M):
        placeholders = re.findall(r"\{([^{}]*)\}", shell)
        assert placeholders
        assert [each for each in placeholders if not each.endswith(":q") and each != "threads"] == []
        assert not re.search(r"[$`]", shell)
