import subprocess
import sys

import pytest

from reliquant import fingerprint, plugins
from reliquant.grid import Grid
from reliquant.plugins import ConfigError


def test_every_file_of_a_family_is_a_plugin_whose_words_can_be_read():
    for family in plugins.FAMILIES:
        for name in plugins.names(family):
            path = plugins.source(family, name)
            assert isinstance(plugins.words(path, family), dict), f"{path} has no function {family}"
            plugins.check_words(path, family, {})


def test_checking_a_config_imports_neither_torch_nor_the_plugin():
    check = "plugins.check('quantizer', {'quantizer': 'lsq'})"
    script = f"import sys; from reliquant import fingerprint, plugins; {check}; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert out == "False\n"


def test_an_unknown_plugin_is_named_with_what_there_is():
    (problem,) = plugins.check("quantizer", {"quantizer": "rtm"})
    assert problem.startswith("quantizer 'rtm' is unknown (did you mean 'rtn'?); there are ")
    assert "lsq" in problem


def test_all_problems_of_an_entry_are_told_at_once():
    entry = {"quantizer": "rtn", "weight": {"bits": 8}, "activation": {"bits": 99}, "momentun": 1, "batch": "many"}
    problems = plugins.check("quantizer", entry)
    assert len(problems) == 3
    assert any("momentun: unknown word; rtn takes weight, activation, momentum, batch" in p for p in problems)
    assert any("activation" in p and "bits must be from 2 to 16, not 99" in p for p in problems)
    assert any(p.startswith("batch:") and "'many'" in p for p in problems)


def test_a_missing_word_is_named():
    assert plugins.check("quantizer", {"quantizer": "rtn", "weight": {"bits": 8}}) == [
        "activation: missing; rtn needs it (Grid)"
    ]


def test_an_unknown_granularity_is_refused_with_the_allowed_ones():
    grids = {"weight": {"bits": 8, "granularity": "chanel"}, "activation": {"bits": 8}}
    (problem,) = plugins.check("quantizer", {"quantizer": "rtn", **grids})
    assert "chanel" in problem
    assert "'tensor', 'channel', 'group' or 'token'" in problem


def test_entries_within_entries_are_checked_too():
    grids = {"weight": {"bits": 8}, "activation": {"bits": 8}}
    (problem,) = plugins.check("quantizer", {"quantizer": "lsq", **grids, "losses": [{"loss": "contrastiv"}]})
    assert "did you mean 'contrastive'" in problem


def test_words_are_bound_and_converted():
    entry = {"quantizer": "rtn", "weight": {"bits": 4}, "activation": {"bits": 8}, "batch": 8}
    bound = plugins.load("quantizer", entry)
    assert bound.keywords == {"weight": Grid(bits=4), "activation": Grid(bits=8), "batch": 8}


def test_a_plugin_may_live_outside_the_package(tmp_path, monkeypatch):
    (tmp_path / "my_scores.py").write_text("def score(features, train, /, *, k: int = 3):\n    return k\n")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").write_text("")
    (tmp_path / "mine" / "steep.py").write_text("def score(features, train, /, *, k: int = 3):\n    return k\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert plugins.load("score", {"score": "mine.steep", "k": 5})(None, None) == 5
    assert plugins.check("score", {"score": "mine.steep", "j": 5}) == ["j: unknown word; steep takes k"]
    assert plugins.check("score", {"score": "mine.flat"}) == ["score 'mine.flat': there is no such Python module"]
    (without_dot,) = plugins.check("score", {"score": "my_scores"})
    assert without_dot.endswith(", or a module of your own, my_package.my_module")


@pytest.mark.parametrize("package", [True, False], ids=["in a package", "in a folder"])
def test_checking_runs_no_code_of_a_plugin_nor_of_the_packages_it_lies_in(tmp_path, monkeypatch, package):
    inner = tmp_path / "outer_of_others" / "inner"
    inner.mkdir(parents=True)
    for folder in (inner.parent, inner) if package else (inner,):
        (folder / "__init__.py").write_text("raise SystemExit('code ran')\n")
    (inner / "own.py").write_text("raise SystemExit('code ran')\ndef score(features, train, /, *, k: int = 3): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert plugins.check("score", {"score": "outer_of_others.inner.own", "k": 5}) == []
    (problem,) = plugins.check("score", {"score": "outer_of_others.inner.other"})
    assert problem.endswith("there is no such Python module")
    assert not [name for name in sys.modules if name.startswith("outer_of_others")]


def test_a_plugin_that_python_cannot_read_or_import_is_named(tmp_path, monkeypatch):
    (tmp_path / "wrong_scores").mkdir()
    (tmp_path / "wrong_scores" / "__init__.py").write_text("")
    (tmp_path / "wrong_scores" / "cut.py").write_text("import math\ndef score(features, train, /, *, k: int = 3:\n")
    lacking = "import nothing_of_this_name\n\n\ndef score(features, train, /, *, k: int = 3):\n    return k\n"
    (tmp_path / "wrong_scores" / "lacking.py").write_text(lacking)
    monkeypatch.syspath_prepend(tmp_path)
    (problem,) = plugins.check("score", {"score": "wrong_scores.cut"})
    assert problem == f"{tmp_path}/wrong_scores/cut.py: line 2 is no Python: invalid syntax"
    with pytest.raises(ConfigError) as refusal:
        plugins.load("score", {"score": "wrong_scores.lacking"})
    assert str(refusal.value) == (
        "score 'wrong_scores.lacking' cannot be imported: ModuleNotFoundError: No module named 'nothing_of_this_name'"
    )


SHARED = """
from __future__ import annotations
from typing import Literal, TypedDict

class Words(TypedDict, total=False):
    \"\"\"What my scores share.\"\"\"

    k: int
    metric: Literal["cosine", "euclid"]
    reach: float

OWN: Words = {"metric": "cosine", "k": 3}
"""


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("absolute", "from absolute.shared import Words"),
        ("relative", "from .shared import Words"),
        ("alone", SHARED),
    ],
)
def test_a_plugin_may_share_words_with_others_by_a_typed_dict(tmp_path, monkeypatch, name, line):
    package = tmp_path / name
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "shared.py").write_text(SHARED)
    words = "k: int = 5, tail: bool = True, **rest: Unpack[Words]"
    source = f"{line}\nfrom typing import Unpack\ndef score(features, train, /, *, {words}):\n    return k, rest\n"
    (package / "near.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    assert plugins.words(package / "near.py", "score") == {
        "tail": ("bool", True),
        "k": ("int", 5),  # the plugin's own default
        "metric": ("Literal['cosine', 'euclid']", "cosine"),
        "reach": ("float", ...),
    }
    assert plugins.check("score", {"score": f"{name}.near"}) == ["reach: missing; near needs it (float)"]
    wrong = {"score": f"{name}.near", "reach": 1, "metric": "l2", "kk": 1}
    unknown, refused = plugins.check("score", wrong)
    assert unknown == "kk: unknown word; near takes tail, k, metric, reach"
    assert refused.startswith("metric: ")
    function = plugins.load("score", {"score": f"{name}.near", "reach": 1, "metric": "euclid"})
    assert function(None, None) == (5, {"reach": 1.0, "metric": "euclid"})
    assert plugins.bound(function) == {"tail": True, "k": 5, "metric": "euclid", "reach": 1.0}


def test_a_quantizer_outside_the_package_takes_the_words_of_training(tmp_path):
    (tmp_path / "my_lsq.py").write_text(
        "from typing import Unpack\n"
        "from reliquant.grid import Grid\n"
        "from reliquant.quantization.training_words import TrainingWords as Words\n"
        "def quantizer(clip, names, proxy, saved, /, *, weight: Grid, activation: Grid, lr: float = 1.0,"
        " **training: Unpack[Words]):\n"
        "    return lr, training\n"
    )
    mine = plugins.words(tmp_path / "my_lsq.py", "quantizer")
    lsq = plugins.words(plugins.source("quantizer", "lsq"), "quantizer")
    assert mine == {word: said for word, said in lsq.items() if word in mine} | {"lr": ("float", 1.0)}
    assert set(lsq) - set(mine) == {"momentum", "weights"}


@pytest.mark.parametrize(
    "line",
    ["", "from no.where import Words", "from .there import Words", "from json import Words", "class Words: k: int"],
)
def test_shared_words_that_cannot_be_read_are_told_with_the_file(tmp_path, line):
    path = tmp_path / "near.py"
    path.write_text(f"{line}\ndef score(features, train, /, **rest: Unpack[Words]): ...\n")
    with pytest.raises(ConfigError, match=r"near\.py|json"):
        plugins.words(path, "score")


def test_other_keywords_of_a_function_are_no_words(tmp_path):
    (tmp_path / "near.py").write_text("def score(features, train, /, *, k: int = 3, **rest: int): ...\n")
    assert plugins.words(tmp_path / "near.py", "score") == {"k": ("int", 3)}


def test_loading_what_is_wrong_raises_with_every_problem():
    with pytest.raises(ConfigError) as error:
        plugins.load("score", {"score": "mcm", "temperatur": 1, "temperature": "hot"})
    assert len(error.value.problems) == 2


def test_the_code_hash_follows_what_a_module_imports():
    closure = fingerprint._closure(frozenset({plugins.PACKAGE / "steps" / "quantize.py"}))
    names = {path.name for path in closure}
    assert {"quantize.py", "variant.py", "twins.py", "grid.py"} <= names
    assert "report.py" not in names
    rtn, lsq = (fingerprint.code("reliquant.steps.quantize", quantizer=q) for q in ("rtn", "lsq"))
    assert rtn != lsq


def test_module_constants_are_seen_without_import(tmp_path):
    assert not plugins.published("score", "mcm")


def test_the_code_hash_follows_the_files_that_a_module_reads():
    plain, styled = (fingerprint.code("reliquant.steps.report", data=d) for d in ((), ("report/template/*",)))
    assert plain != styled


@pytest.mark.parametrize(
    ("role", "grid", "told"),
    [
        (
            "activation",
            {"bits": 8, "granularity": "group"},
            "group needs dynamic: true; blocks have no calibrated range",
        ),
        (
            "activation",
            {"bits": 8, "granularity": "channel", "dynamic": True},
            "'channel' is not for activations; they take tensor, token, group",
        ),
        (
            "weight",
            {"bits": 8, "granularity": "token", "dynamic": True},
            "'token' is not for weights",
        ),
    ],
)
def test_a_granularity_of_the_other_side_is_refused(role, grid, told):
    grids = {"weight": {"bits": 8}, "activation": {"bits": 8}} | {role: grid}
    assert any(told in problem for problem in plugins.check("quantizer", {"quantizer": "rtn", **grids}))
