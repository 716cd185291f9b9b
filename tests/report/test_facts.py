import pytest

from reliquant.files.artifacts import DamagedFile
from reliquant.report.facts import equivalence_of, pieces_of, require_facts, require_study
from reliquant.study.config import EQUIVALENCE

FACTS = {
    "study": "s",
    "title": "t",
    "note": "",
    "config": "",
    "models": {},
    "datasets": {},
    "versions": {"python": "3"},
}


def test_a_word_that_a_report_needs_is_told_with_its_place():
    require_facts(FACTS, "facts.json")
    with pytest.raises(DamagedFile, match=r"facts\.json: has no 'note'"):
        require_facts({word: value for word, value in FACTS.items() if word != "note"}, "facts.json")
    with pytest.raises(DamagedFile, match=r"facts\.json: models: vit has no 'source'"):
        require_facts({**FACTS, "models": {"vit": {}}}, "facts.json")
    sets = {"x": {"n": True, "classes": 2, "entry": {}}}
    with pytest.raises(DamagedFile, match=r"datasets: x .* 'n' must be a whole number, not true"):
        require_facts({**FACTS, "datasets": sets}, "facts.json")


def test_rows_of_another_study_than_the_facts_are_refused():
    require_study(["mine", "another"], {"study": "mine"}, "rows.parquet", "facts.json")
    require_study([], {"study": "mine"}, "rows.parquet", "facts.json")
    with pytest.raises(DamagedFile, match=r"rows\.parquet: is of the study another, and facts\.json of mine: one of"):
        require_study(["another"], {"study": "mine"}, "rows.parquet", "facts.json")


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (
            "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60)),
            "is no YAML of keys",
        ),
        ("a: " + "[" * 100_000, "is no YAML of keys and values"),
        ("[a, b]", "is no YAML of keys and values"),
        ("equivalence: much", "equivalence must be a number between 0 and 1, not 'much'"),
        ("equivalence: 2", "equivalence must be a number between 0 and 1, not 2"),
    ],
)
def test_a_config_in_facts_is_read_within_bounds(config, told, at_most):
    assert equivalence_of({"config": "equivalence: 0.02"}, "facts.json") == 0.02
    assert equivalence_of({"config": ""}, "facts.json") == EQUIVALENCE
    with at_most(5), pytest.raises(DamagedFile, match=rf"facts\.json: config:? {told}"):
        equivalence_of({"config": config}, "facts.json")


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ("report: [overview]", "report must name lists of figures and tables, not"),
        ("report: {figures: overview}", "report must name lists of figures and tables, not"),
        ("report: {tables: [{}]}", "report must name lists of figures and tables, not"),
        ("report: {pictures: []}", "report must name lists of figures and tables, not"),
        ("report: {figures: [overview, nothing]}", "report: figures: figure 'nothing' is unknown"),
    ],
)
def test_what_a_report_shows_is_read_from_the_config_in_facts(config, told):
    assert pieces_of({"config": ""}, "facts.json") == {}
    assert pieces_of({"config": "report: {figures: [overview]}"}, "facts.json") == {"figures": ["overview"]}
    with pytest.raises(DamagedFile, match=rf"facts\.json: config: {told}"):
        pieces_of({"config": config}, "facts.json")
