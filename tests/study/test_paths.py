"""study/paths.py is the only place that knows where files lie, and it agrees with the head of the Snakefile."""

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

from reliquant.plugins import PACKAGE
from reliquant.study import paths

ROOT = PACKAGE.parents[1]
PREPARED, REPORT = paths.prepared("cats", "native"), paths.report("lab")
VARIANT = "vit/rtn/w4a8-image-captions-0"
EXPORTED = paths.exported("lab", VARIANT)
MADE_BY = {  # rule -> what it makes, for the study `lab`
    "fetch": [paths.fetched(f"{paths.RAW}/pets")],
    "prepare": [of(PREPARED) for of in (paths.images, paths.labels, paths.photographs, paths.meta)],
    "corrupt": [paths.corrupted(PREPARED, "fog")],
    "inventory": [paths.inventory("lab", "vit", "clean")],
    "fetch_model": [paths.model("vit")],
    "pretrain": [paths.model("vit")],
    "quantize": [paths.variant("lab", VARIANT), paths.snapshots(paths.variant("lab", VARIANT))],
    "evaluate": [paths.samples("lab", VARIANT, "clean")],
    "measure": [paths.shard_rows("lab", VARIANT, "clean")],
    "explain": [paths.explain_rows("lab", VARIANT)],
    "sensitivity": [paths.sensitivity_rows("lab", VARIANT)],
    "embed": [paths.embeddings("lab", VARIANT)],
    "retrieve": [paths.retrieval_rows("lab", VARIANT)],
    "export": [
        *(paths.exported_tower(EXPORTED, tower) for tower in ("image", "text")),
        *(of(EXPORTED) for of in (paths.exported_facts, paths.exported_classes, paths.exported_card)),
        paths.doubled("lab", VARIANT),
    ],
    "run_exported": [paths.run_samples("lab", VARIANT, "openvino", "clean")],
    "measure_exported": [paths.run_rows("lab", VARIANT, "openvino", "clean")],
    "time_exported": [paths.times("lab", "vit")],
    "deployed": [paths.deployed("lab")],
    "collect": [paths.rows("lab")],
    "facts": [paths.facts("lab")],
    "report": [paths.page(REPORT), paths.summary(REPORT), paths.claims(REPORT), paths.digests(REPORT)]
    + [f"{of(REPORT)}/" for of in (paths.figures, paths.tables)]
    + [paths.plot(REPORT, name) for name in paths.PLOTS],
}
WORDS = {"folder": "pets", "dataset": "cats", "form": "native", "corruption": "fog", "study": "lab", "model": "vit"}
WORDS |= {"shard": "clean", "variant": VARIANT, "runtime": "openvino"}

SPELT = re.compile(
    r"data/(raw|prepared|models)|(?<!docs/)\b(results|reports)/[\w{]|/corrupt/(?!.*\.log)"
    r"|(^|/)(fetched|meta|facts|summary|claims)\.json|(^|/)(images|labels|photographs)\.npy"
    r"|(^|/)(samples|rows)\.parquet|(^|/)report\.html|\.snapshots\.tar"
)
ALLOWED = {  # what is no path of the workflow
    "src/reliquant/images/datasets/cifar10_c.py": {"labels.npy"},  # as published
    "src/reliquant/deploy/folder.py": {"rows.parquet"},  # what a user has put beside an export
    "src/reliquant/report/page.py": {"report.html"},  # the template
}

FSTRING_START, FSTRING_END = (getattr(tokenize, f"FSTRING_{end}", None) for end in ("START", "END"))


def head():
    """The lines of the Snakefile's head: the paths that each rule makes, with words in angle brackets."""
    made = {}
    for line in (ROOT / "workflow/Snakefile").read_text().splitlines():
        match = re.match(r"#   ((?:data|results|reports)/\S+)\s+([a-z_]+)(\s|$)", line)
        if match:
            made.setdefault(match[2], []).append(re.sub(r"<(\w+)>", lambda word: WORDS[word[1]], match[1]))
    return made


def test_the_snakefile_tells_the_same_paths():
    assert head() == MADE_BY


def test_every_function_of_paths_has_a_line_in_the_head():
    table = Path(__file__).read_text().split("WORDS =")[0]
    of_paths = {name for name, value in vars(paths).items() if getattr(value, "__module__", "") == paths.__name__}
    assert of_paths - set(re.findall(r"paths\.(\w+)", table)) == {"dataset_and_form"}


def test_every_rule_has_its_files():
    rules = set()
    for path in (ROOT / "workflow" / "rules").glob("*.smk"):
        rules |= set(re.findall(r"^rule (\w+):", path.read_text(), re.M))
    assert rules == set(MADE_BY)


def test_a_prepared_folder_says_what_it_was_made_of():
    assert paths.dataset_and_form(paths.prepared("cats", "224-squash-bicubic")) == ("cats", "224-squash-bicubic")


def strings_of_python(path):
    """The strings of a Python file but docstrings and the examples of the command line; fields of f-strings as {}."""
    tree = ast.parse(path.read_text())
    skipped = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skipped.add(node.value)
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "EXAMPLE":
            skipped.add(node.value)
        if isinstance(node, ast.keyword) and node.arg == "help":
            skipped.add(node.value)
        if isinstance(node, ast.JoinedStr):
            skipped.update(node.values)
            yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in skipped:
            yield node.value


def strings_of_rules(path):
    """The strings of a Snakefile, which is no Python for `ast`; its docstrings have three quotes."""
    starts = []
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        string = token.string if token.type == tokenize.STRING else ""
        if token.type == FSTRING_START:  # since Python 3.12 an f-string is several tokens
            starts.append(token.start[1])
        if token.type == FSTRING_END:
            string = token.line[starts.pop() : token.end[1]]
        if string and '"""' not in string:
            yield re.sub(r"\{.*?\}", "{}", string.lstrip("f").strip('"'))


SOURCES = [path for path in PACKAGE.rglob("*.py") if path.stem != "paths"]
RULES = [ROOT / "workflow/Snakefile", *(ROOT / "workflow" / "rules").glob("*.smk")]


@pytest.mark.parametrize("path", [*SOURCES, *RULES], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_other_file_spells_a_path(path):
    strings = strings_of_python(path) if path.suffix == ".py" else strings_of_rules(path)
    spelt = {string for string in strings if SPELT.search(string)}
    assert spelt - ALLOWED.get(path.relative_to(ROOT).as_posix(), set()) == set()


def test_a_spelt_path_would_be_seen(tmp_path):
    (tmp_path / "a.py").write_text(
        '"""Of data/raw."""\nx = f"results/{study}/rows.parquet"\ny = folder / "meta.json"\n'
    )
    seen = [string for string in strings_of_python(tmp_path / "a.py") if SPELT.search(string)]
    assert seen == ["results/{}/rows.parquet", "meta.json"]
    (tmp_path / "a.smk").write_text('# data/raw\nrule a:\n    output:\n        f"data/models/{{model}}.safetensors",\n')
    assert [bool(SPELT.search(string)) for string in strings_of_rules(tmp_path / "a.smk")] == [True]
